# Cross-layer: how alike the layers of a checkpoint are, token by token of its runs.
#
# Needs: the manifests of the jobs that captured the runs.
# Leaves: results/cross_layer/<checkpoint>-<digest>.json.


rule cross_layer:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.cross_layer / f"{wildcards.job}.json"],
            [
                LAYOUT.captures / f"{job.name}.json"
                for job in CROSS_LAYER[wildcards.job].after
            ],
        ),
    output:
        LAYOUT.cross_layer / "{job}.json",
    log:
        "logs/cross_layer/{job}.log",
    benchmark:
        "logs/benchmarks/cross_layer/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    message:
        "Comparing the layers of {wildcards.job}"
    shell:
        "python -m stratascope look {output} 2>&1 | tee {log}"
