# Attention: where each head of a checkpoint looks in its runs.
#
# Needs: the manifests of the jobs that captured the runs.
# Leaves: results/attention/<checkpoint>-<digest>.json.


rule attention:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.attention / f"{wildcards.job}.json"],
            [
                LAYOUT.captures / f"{job.name}.json"
                for job in ATTENTION[wildcards.job].after
            ],
        ),
    output:
        LAYOUT.attention / "{job}.json",
    log:
        "logs/attention/{job}.log",
    benchmark:
        "logs/benchmarks/attention/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    message:
        "Looking at the attention heads of {wildcards.job}"
    shell:
        "python -m stratascope look {output} 2>&1 | tee {log}"
