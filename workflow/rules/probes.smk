# Probes: what of a dataset's labels is linearly decodable, at each site and layer of one checkpoint.
#
# Needs: the manifests of the jobs that extracted the features.
# Leaves: results/probes/<dataset>@<checkpoint>-<digest>.json, the predictions for texts that a probe did
# not see (.parquet), and the probes themselves (.safetensors).


rule probes:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.probes / f"{wildcards.job}{end}" for end in PROBES_ENDS],
            [
                LAYOUT.extractions / f"{job.name}.json"
                for job in PROBES[wildcards.job].after
            ],
        ),
    output:
        index=LAYOUT.probes / "{job}.json",
        predictions=LAYOUT.probes / "{job}.parquet",
        weights=LAYOUT.probes / "{job}.safetensors",
    log:
        "logs/probes/{job}.log",
    benchmark:
        "logs/benchmarks/probes/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    message:
        "Fitting linear probes to {wildcards.job}"
    shell:
        "python -m stratascope probes {output.index} 2>&1 | tee {log}"
