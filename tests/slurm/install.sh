#!/bin/sh
# Debian's Slurm, for the tests in this folder: where we may install it; elsewhere they are skipped.
set -eu
command -v slurmctld >/dev/null && command -v munged >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "No Slurm found: its tests will be skipped. Install slurm-wlm and munge to run them."
  exit 0
fi
echo "== installing Debian's slurm-wlm and munge for the tests by Slurm"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
