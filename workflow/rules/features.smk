# Features: a dataset's activations on one checkpoint, shard by shard.
#
# Needs: the dataset, and the checkpoint's model.
# Leaves: results/features/<dataset>@<checkpoint>-<digest>/, whose shards are renamed into place one by
# one, so that a killed job goes on at the last whole one; and a manifest for each job (`jobs: K` deals
# the shards out to K of them, which may run at the same time on different machines).


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
        gpu=lambda wildcards: int(
            FEATURES[wildcards.job].features.checkpoint.model.device != "cpu"
        ),
        mem_mb=PLAN.study.capture.memory_mb,
        runtime=PLAN.study.capture.runtime_minutes,
    message:
        "Extracting features {wildcards.job}: shards that are not there yet"
    shell:
        "python -m stratascope features {output.manifest} 2>&1 | tee {log}"
