# Heatmaps: pictures of the tensors of a checkpoint's runs.
#
# Needs: the manifests of the jobs that captured the runs.
# Leaves: results/heatmaps/<checkpoint>-<digest>.json, and a folder of that name with PNG files.


rule heatmaps:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.heatmaps / f"{wildcards.job}.json"],
            [
                LAYOUT.captures / f"{job.name}.json"
                for job in HEATMAPS[wildcards.job].after
            ],
        ),
    output:
        LAYOUT.heatmaps / "{job}.json",
    log:
        "logs/heatmaps/{job}.log",
    benchmark:
        "logs/benchmarks/heatmaps/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    message:
        "Drawing {wildcards.job}"
    shell:
        "python -m stratascope look {output} 2>&1 | tee {log}"
