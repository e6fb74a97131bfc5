# Capture: run the scenarios of one checkpoint and keep its tensors.
#
# Needs: the checkpoint's model.
# Leaves: results/runs/<scenario>@<checkpoint>-<digest>/, the same in results/questions for benchmark
# questions, and results/references/<checkpoint>-<digest>/, each renamed into place when it is whole,
# and a manifest that lists them. Only the manifest is
# declared: Snakemake deletes a failed job's outputs, and a failed scenario must not cost the others.


rule capture:
    output:
        manifest=LAYOUT.captures / "{job}.json",
    log:
        "logs/capture/{job}.log",
    benchmark:
        "logs/benchmarks/capture/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    # The study says how many threads compute, for results can depend on it; --cores only schedules.
    threads: PLAN.study.capture.threads
    resources:
        gpu=gpus_of("capture"),
        mem_mb=memory_of("capture"),
        runtime=minutes_of("capture"),
    message:
        "Capturing {wildcards.job}: runs, references and answers that are not there yet"
    shell:
        "python -m stratascope capture {output.manifest} 2>&1 | tee {log}"
