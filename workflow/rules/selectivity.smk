# Selectivity: how every neuron's values are spread, where it is strongest, and what it tells of labels.
#
# Needs: the manifests of the jobs that counted the neurons (rules/features.smk does, with the features).
# Leaves: results/neurons/<dataset>@<checkpoint>-<digest>.json, and a row for every neuron (.parquet).


rule selectivity:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.neurons / f"{wildcards.job}{end}" for end in NEURONS_ENDS],
            [
                LAYOUT.extractions / f"{job.name}.json"
                for job in NEURONS[wildcards.job].after
            ],
        ),
    output:
        index=LAYOUT.neurons / "{job}.json",
        table=LAYOUT.neurons / "{job}.parquet",
    log:
        "logs/neurons/{job}.log",
    benchmark:
        "logs/benchmarks/neurons/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    message:
        "Measuring the neurons of {wildcards.job}"
    shell:
        "python -m stratascope selectivity {output.index} 2>&1 | tee {log}"
