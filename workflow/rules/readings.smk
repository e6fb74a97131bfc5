# Readings: what the probes say of every token of the study's own conversations.
#
# Needs: the probes of a dataset on a checkpoint, and the manifests of the checkpoint's capture jobs.
# Leaves: results/readings/<dataset>@<checkpoint>-<digest>.json.


rule readings:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.readings / f"{wildcards.job}.json"],
            [
                LAYOUT.probes / f"{READINGS[wildcards.job].probes.name}.json",
                *(
                    LAYOUT.captures / f"{job.name}.json"
                    for job in READINGS[wildcards.job].after
                ),
            ],
        ),
    output:
        LAYOUT.readings / "{job}.json",
    log:
        "logs/readings/{job}.log",
    benchmark:
        "logs/benchmarks/readings/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    message:
        "Reading conversations with the probes of {wildcards.job}"
    shell:
        "python -m stratascope readings {output} 2>&1 | tee {log}"
