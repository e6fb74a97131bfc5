# Report: one self-contained HTML file.
#
# Needs: the tables, the runs' texts and what probes read in them, and the datasets' features.
# Leaves: results/report.html and a stamp whose name carries its digest (see tables.smk).


rule report:
    input:
        ancient(rules.tables.output.stamp),
        ancient(expand(LAYOUT.extractions / "{job}.json", job=FEATURES)),
        ancient(expand(LAYOUT.readings / "{job}.json", job=READINGS)),
        ancient(expand(LAYOUT.heatmaps / "{job}.json", job=HEATMAPS)),
    output:
        html=report(LAYOUT.report, category="Report", caption="../report/report.rst"),
        stamp=LAYOUT.stamps / f"report-{PLAN.report_digest}.json",
    log:
        f"logs/report/{PLAN.report_digest}.log",
    benchmark:
        f"logs/benchmarks/report/{PLAN.report_digest}.tsv"
    conda:
        "../envs/stratascope.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    message:
        "Rendering results/report.html"
    shell:
        "python -m stratascope report {output.stamp} 2>&1 | tee {log}"
