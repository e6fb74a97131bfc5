# Trajectory: what single neurons of a checkpoint do along its runs.
#
# Needs: the manifests of the jobs that captured the runs.
# Leaves: results/trajectory/<checkpoint>-<digest>.json.


rule trajectory:
    input:
        lambda wildcards: unless_there(
            [LAYOUT.trajectory / f"{wildcards.job}.json"],
            [
                LAYOUT.captures / f"{job.name}.json"
                for job in TRAJECTORY[wildcards.job].after
            ],
        ),
    output:
        LAYOUT.trajectory / "{job}.json",
    log:
        "logs/trajectory/{job}.log",
    benchmark:
        "logs/benchmarks/trajectory/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    message:
        "Following neurons of {wildcards.job}"
    shell:
        "python -m stratascope look {output} 2>&1 | tee {log}"
