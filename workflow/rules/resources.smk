# Resources: what jobs ask a scheduler for. With --retries, each attempt asks for as much more.
#
# Needs: the plan. Leaves: nothing.
from functools import lru_cache

from stratascope.store.asked import asked


@lru_cache(maxsize=None)
def asked_for(kind, name):
    jobs = {"capture": CAPTURES, "features": FEATURES, "induction": INDUCTION}
    return asked(jobs[kind][name], Path.cwd(), PLAN.study.capture)


def gpus_of(kind):
    return lambda wildcards: asked_for(kind, wildcards.job).gpus


def memory_of(kind):
    return lambda wildcards, attempt: attempt * asked_for(kind, wildcards.job).memory_mb


def minutes_of(kind):
    return lambda wildcards, attempt: attempt * asked_for(kind, wildcards.job).minutes


def growing(first):
    """So much at the first attempt, twice as much at the second."""
    return lambda wildcards, attempt: attempt * first
