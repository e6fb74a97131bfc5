# Transfer: probes judged on the features of another checkpoint or layer.
#
# Needs: the manifests of the jobs that extracted a dataset's features on every checkpoint.
# Leaves: results/transfer/<dataset>-<digest>.json.


rule transfer:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.transfer / f"{wildcards.job}.json"],
            [
                LAYOUT.extractions / f"{job.name}.json"
                for job in TRANSFERS[wildcards.job].after
            ],
        ),
    output:
        LAYOUT.transfer / "{job}.json",
    log:
        "logs/transfer/{job}.log",
    benchmark:
        "logs/benchmarks/transfer/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    message:
        "Judging probes of {wildcards.job} elsewhere"
    shell:
        "python -m stratascope transfer {output} 2>&1 | tee {log}"
