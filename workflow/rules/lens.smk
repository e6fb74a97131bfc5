# Lens: what a checkpoint would say after each layer of its runs.
#
# Needs: the manifests of the jobs that captured the runs, and of the model a few weights.
# Leaves: results/lens/<checkpoint>-<digest>.json.


rule lens:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.lens / f"{wildcards.job}.json"],
            [
                LAYOUT.captures / f"{job.name}.json"
                for job in LENSES[wildcards.job].after
            ],
        ),
    output:
        LAYOUT.lens / "{job}.json",
    log:
        "logs/lens/{job}.log",
    benchmark:
        "logs/benchmarks/lens/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    message:
        "Reading layers of {wildcards.job} through the final norm and head"
    shell:
        "python -m stratascope look {output} 2>&1 | tee {log}"
