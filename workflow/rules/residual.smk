# Residual: what each layer and head adds to the residual stream of a checkpoint's runs.
#
# Needs: the manifests of the jobs that captured the runs, and of the model a few weights.
# Leaves: results/residual/<checkpoint>-<digest>.json.


rule residual:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.residual / f"{wildcards.job}.json"],
            [
                LAYOUT.captures / f"{job.name}.json"
                for job in RESIDUALS[wildcards.job].after
            ],
        ),
    output:
        LAYOUT.residual / "{job}.json",
    log:
        "logs/residual/{job}.log",
    benchmark:
        "logs/benchmarks/residual/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    message:
        "Taking apart the residual stream of {wildcards.job}"
    shell:
        "python -m stratascope look {output} 2>&1 | tee {log}"
