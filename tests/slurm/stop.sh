#!/bin/sh
# Stop what start.sh STATE started, its jobs first.
set -u
state=$(cd "$1" && pwd)
conf=/etc/slurm/slurm.conf
scancel --quiet --signal=KILL --full --user=root 2>/dev/null
for name in slurmd slurmctld munged; do
  [ -f "$state/$name.pid" ] && kill "$(cat "$state/$name.pid")" 2>/dev/null
done
[ "$(readlink "$conf")" = "$state/slurm.conf" ] && rm "$conf"
exit 0
