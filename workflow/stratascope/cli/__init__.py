"""The command line: one thin command for each rule of the workflow and each human task.

Every command imports what it needs when it runs, so that ``--help`` and the analysis stages start
without torch.
"""

from __future__ import annotations

import os
import sys

import click

from stratascope import __version__
from stratascope.cli import (
    estimate,
    features,
    lens,
    microscope,
    neurons,
    pair,
    probe,
    rules,
    similarity,
    tasks,
    versions,
)
from stratascope.errors import StratascopeError

# Nothing phones home, and tokenizers' threads would make a forked process complain.
ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="stratascope")
def cli() -> None:
    """Reproducible studies of what happens inside language models, layer by layer.

    A study is a folder with config/config.yaml and scenarios/. `snakemake --cores 2` captures,
    compares and reports it; `stratascope plan` shows what that will do. Without a study,
    `stratascope run SCENARIO.yaml` captures a single scenario file.
    """


# A new command is one function in its module, which is a table of them.
_MODULES = (
    tasks,
    estimate,
    features,
    probe,
    similarity,
    neurons,
    lens,
    microscope,
    pair,
    versions,
    rules,
)
for _module in _MODULES:
    for _command in vars(_module).values():
        if isinstance(_command, click.Command):
            cli.add_command(_command)


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 1, never a traceback."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        cli()
    except StratascopeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has seen enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
