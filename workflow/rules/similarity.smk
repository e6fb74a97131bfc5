# Similarity: how alike layers and checkpoints represent the texts of one dataset.
#
# Needs: the manifests of the jobs that extracted the features on every checkpoint.
# Leaves: results/similarity/<dataset>-<digest>.json.


rule similarity:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.similarity / f"{wildcards.job}.json"],
            [
                LAYOUT.extractions / f"{job.name}.json"
                for job in SIMILARITIES[wildcards.job].after
            ],
        ),
    output:
        LAYOUT.similarity / "{job}.json",
    log:
        "logs/similarity/{job}.log",
    benchmark:
        "logs/benchmarks/similarity/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    message:
        "Comparing representations of {wildcards.job}"
    shell:
        "python -m stratascope representations {output} 2>&1 | tee {log}"
