# Features: a dataset's activations on one checkpoint, shard by shard.
#
# Needs: the datasets, and the checkpoint's model, which a job loads once for all of them.
# Leaves: results/features/<dataset>@<checkpoint>-<digest>/, whose shards are renamed into place one by
# one, so that a killed job goes on at the last whole one; and results/extractions/<checkpoint>-<digest>.json,
# the manifest of a job (`jobs: K` deals a dataset's shards out to K jobs, on different machines if you like).


rule features:
    output:
        manifest=LAYOUT.extractions / "{job}.json",
    log:
        "logs/features/{job}.log",
    benchmark:
        "logs/benchmarks/features/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: PLAN.study.capture.threads
    resources:
        gpu=gpus_of("features"),
        mem_mb=memory_of("features"),
        runtime=minutes_of("features"),
    message:
        "Extracting features {wildcards.job}: shards that are not there yet"
    shell:
        "python -m stratascope features {output.manifest} 2>&1 | tee {log}"
