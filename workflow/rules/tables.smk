# Tables: every comparison, in one vectorised job.
#
# Needs: the states of all checkpoints, the manifests of capture jobs that asked questions, and what was
# computed from features and runs.
# Leaves: results/tables/*.csv and results/metrics.json, whose names are fixed, and a stamp whose name
# carries their digest: without Snakemake's records (a fresh clone) the stamp alone tells old from new.


rule tables:
    input:
        ancient(expand(LAYOUT.states / "{job}.json", job=STATES)),
        [
            ancient(LAYOUT.captures / f"{name}.json")
            for name, job in CAPTURES.items()
            if job.questions
        ],
        ancient(expand(LAYOUT.probes / "{job}.json", job=PROBES)),
        ancient(expand(LAYOUT.transfer / "{job}.json", job=TRANSFERS)),
        ancient(expand(LAYOUT.similarity / "{job}.json", job=SIMILARITIES)),
        ancient(expand(LAYOUT.neurons / "{job}.json", job=NEURONS)),
        ancient(expand(LAYOUT.lens / "{job}.json", job=LENSES)),
        ancient(expand(LAYOUT.residual / "{job}.json", job=RESIDUALS)),
        ancient(expand(LAYOUT.attention / "{job}.json", job=ATTENTION)),
        ancient(expand(LAYOUT.induction / "{job}.json", job=INDUCTION)),
        ancient(expand(LAYOUT.cross_layer / "{job}.json", job=CROSS_LAYER)),
        ancient(expand(LAYOUT.trajectory / "{job}.json", job=TRAJECTORY)),
    output:
        tables=report(
            expand(LAYOUT.tables / "{table}.csv", table=TABLES),
            category="Tables",
            caption="../report/tables.rst",
        ),
        metrics=LAYOUT.metrics,
        stamp=LAYOUT.stamps / f"tables-{PLAN.tables_digest}.json",
    log:
        f"logs/tables/{PLAN.tables_digest}.log",
    benchmark:
        f"logs/benchmarks/tables/{PLAN.tables_digest}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    message:
        "Comparing states: tables and metrics"
    shell:
        "python -m stratascope tables {output.stamp} 2>&1 | tee {log}"
