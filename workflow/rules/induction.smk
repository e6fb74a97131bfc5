# Induction: which heads of a checkpoint copy by induction, or look at the previous token.
#
# Needs: the checkpoint, which reads repeated random tokens.
# Leaves: results/induction/<checkpoint>-<digest>.json.


rule induction:
    output:
        LAYOUT.induction / "{job}.json",
    log:
        "logs/induction/{job}.log",
    benchmark:
        "logs/benchmarks/induction/{job}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=PLAN.study.capture.memory_mb,
        runtime=PLAN.study.capture.runtime_minutes,
    message:
        "Trying the heads of {wildcards.job} on repeated random tokens"
    shell:
        "python -m stratascope look {output} 2>&1 | tee {log}"
