"""What the workflow's rules do: each makes one target of the plan, or says why it cannot.

`capturing` runs models, `analysing` reads what they left, `publishing` writes what people read; `targets`
is what they share, and `start` prepares Snakemake itself.
"""
