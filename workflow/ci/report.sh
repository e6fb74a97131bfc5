#!/usr/bin/env bash
# Bring what was recorded, run only what changed, and say what moved against another revision.
# Runs on any machine, in the environment, in the folder of the study:
#
#   bash workflow/ci/report.sh origin/main OUT
#
# Leaves OUT/report.html, OUT/metrics.json and OUT/diff.md.
set -euo pipefail
base=$1
out=$2
export DVC_NO_ANALYTICS=1
mkdir -p "$out"

stratascope restore || echo "Not everything was recorded. What is missing is made now."
dvc repro
stratascope verify

cp results/report.html results/metrics.json "$out"
if git cat-file -e "$base:./dvc.lock" 2>/dev/null; then
  stratascope diff "$base" . --format markdown > "$out/diff.md"
else
  echo "No results are recorded on $base, so there is nothing to compare with." > "$out/diff.md"
fi
