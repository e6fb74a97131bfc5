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
        gpu=gpus_of("induction"),
        mem_mb=memory_of("induction"),
        runtime=minutes_of("induction"),
    message:
        "Trying the heads of {wildcards.job} on repeated random tokens"
    shell:
        "python -m stratascope look {output} 2>&1 | tee {log}"
