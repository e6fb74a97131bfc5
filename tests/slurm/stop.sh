#!/bin/sh
# Stop what start.sh STATE started, its jobs first.
set -u
state=$(cd "$1" && pwd)
conf=/etc/slurm/slurm.conf
scancel --quiet --signal=KILL --full --user=root 2>/dev/null
for _ in $(seq 50); do
  [ -z "$(squeue --noheader 2>/dev/null)" ] && break
  sleep 0.1
done
for name in slurmd slurmctld munged; do
  [ -f "$state/$name.pid" ] && kill "$(cat "$state/$name.pid")" 2>/dev/null
done
[ "$(readlink "$conf")" = "$state/slurm.conf" ] && rm "$conf"
exit 0
