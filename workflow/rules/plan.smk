# The plan: what config/config.yaml and its scenarios ask for, as names with digests.
#
# Needs: config/config.yaml, the scenario files, the checkpoints' folders (or config/lock.json).
# Leaves: nothing; the other rules take their names from `PLAN`.
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.store.datasets import content_of
from stratascope.store.identity import identify
from stratascope.store.layout import TABLES, Layout
from stratascope.store.needed import NEURONS_ENDS, PROBES_ENDS
from stratascope.study.plan import make_plan
from stratascope.workflow.start import forget_killed_process, use_this_package

# Snakemake imports the package beside the Snakefile; the rules' commands shall run the same one.
use_this_package()
# A job on another machine may not see this one's lock.
if workflow.is_main_process:
    forget_killed_process(Path(".snakemake"))

if config:
    raise WorkflowError(
        "Settings come from config/config.yaml alone, so that results follow from files that can be "
        f"committed; put these there instead of on the command line: {', '.join(sorted(config))}"
    )

try:
    PLAN = make_plan(Path.cwd(), identify, content_of)
except StratascopeError as error:
    raise WorkflowError(str(error)) from None

LAYOUT = Layout.of_study()
CAPTURES = {job.name: job for job in PLAN.captures}
FEATURES = {job.name: job for job in PLAN.features}
PROBES = {job.name: job for job in PLAN.probes}
READINGS = {job.name: job for job in PLAN.readings}
TRANSFERS = {job.name: job for job in PLAN.transfers}
SIMILARITIES = {job.name: job for job in PLAN.similarities}
NEURONS = {job.name: job for job in PLAN.neurons}
LENSES = {job.name: job for job in PLAN.looks if job.part == "lens"}
RESIDUALS = {job.name: job for job in PLAN.looks if job.part == "residual"}
ATTENTION = {job.name: job for job in PLAN.looks if job.part == "attention"}
INDUCTION = {job.name: job for job in PLAN.looks if job.part == "induction"}
CROSS_LAYER = {job.name: job for job in PLAN.looks if job.part == "cross_layer"}
TRAJECTORY = {job.name: job for job in PLAN.looks if job.part == "trajectory"}
HEATMAPS = {job.name: job for job in PLAN.looks if job.part == "heatmaps"}
STATES = {job.name: job for job in PLAN.states}


def unless_there(outputs, inputs):
    """The inputs of a job whose outputs are not there yet, else none.

    Names carry digests, so outputs that are there are right. But when a job runs whose manifest is not
    there, Snakemake runs every job that reads it, `ancient` or not: a changed row of one dataset would
    renew the probes of all.
    """
    there = all(Path(output).is_file() for output in outputs)
    return [] if there else [ancient(path) for path in inputs]
