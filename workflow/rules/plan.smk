# The plan: what config/config.yaml and its scenarios ask for, as names with digests.
#
# Needs: config/config.yaml, the scenario files, the checkpoints' folders (or config/lock.json).
# Leaves: nothing; the other rules take their names from `PLAN`.
import os
import sys
from pathlib import Path

# The package beside this file is the one that runs, whichever is installed; and the `stratascope`
# command is the one of the Python that runs Snakemake, also where its environment is not activated.
sys.path.insert(0, str(Path(workflow.basedir)))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(workflow.basedir)), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

from stratascope.errors import StratascopeError
from stratascope.report.tables import TABLE_FILES
from stratascope.store.identity import identify
from stratascope.store.layout import Layout
from stratascope.study.plan import make_plan

if config:
    raise WorkflowError(
        "Settings come from config/config.yaml alone, so that results follow from files that can be "
        f"committed; put these there instead of on the command line: {', '.join(sorted(config))}"
    )

try:
    PLAN = make_plan(Path.cwd(), identify)
except StratascopeError as error:
    raise WorkflowError(str(error)) from None

LAYOUT = Layout.of_study()
CAPTURES = {job.name: job for job in PLAN.captures}
STATES = {job.name: job for job in PLAN.states}
