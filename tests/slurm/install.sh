#!/bin/sh
# Debian's Slurm, for the tests in this folder. Not part of `make test`: without it they are skipped.
set -eu
command -v slurmctld >/dev/null && command -v munged >/dev/null && exit 0
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
