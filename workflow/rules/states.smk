# States: gather the state vectors that comparisons start from.
#
# Needs: the manifests of a checkpoint's capture jobs, and the folders that they list.
# Leaves: results/states/<checkpoint>-<digest>.safetensors and its index, .json.


rule states:
    input:
        lambda wildcards: [
            ancient(LAYOUT.captures / f"{job.name}.json")
            for job in STATES[wildcards.job].captures
        ],
    output:
        index=LAYOUT.states / "{job}.json",
        tensors=LAYOUT.states / "{job}.safetensors",
    log:
        "logs/states/{job}.log",
    benchmark:
        "logs/benchmarks/states/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    message:
        "Extracting snapshot and reference states of {wildcards.job}"
    shell:
        "python -m stratascope states {output.index} 2>&1 | tee {log}"
