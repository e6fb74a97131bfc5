#!/bin/sh
# A Slurm of one node on this machine, with its state in the folder STATE: for tests. As root.
#
#   tests/slurm/start.sh STATE [CPUS]
#
# /etc/slurm/slurm.conf becomes a link to STATE/slurm.conf, for Snakemake's jobs drop SLURM_CONF; where
# another slurm.conf is, nothing is started. Without accounting, so ask for the state of jobs with squeue.
# Stop it with stop.sh STATE.
set -eu
state=$(mkdir -p "$1" && cd "$1" && pwd)
cpus=${2:-2}
memory=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
conf=/etc/slurm/slurm.conf
if [ -e "$conf" ]; then
  echo "start.sh: $conf is there: this machine has a Slurm of its own, or stop.sh was not run" >&2
  exit 1
fi
mkdir -p "$state/ctld" "$state/slurmd" "$state/munge"
chmod 700 "$state/munge"
# munged wants every folder above its key to be closed to others; a state in /tmp is not.
head -c 1024 /dev/urandom >"$state/munge/key"
chmod 600 "$state/munge/key"
cat >"$state/slurm.conf" <<EOF
ClusterName=stratascope
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=${SLURMCTLD_PORT:-16817}
SlurmdPort=${SLURMD_PORT:-16818}
AuthType=auth/munge
AuthInfo=socket=$state/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/slurmd
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
MinJobAge=300
KillWait=2
SchedulerParameters=sched_interval=1,sched_min_interval=0
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
mkdir -p /etc/slurm
ln -sf "$state/slurm.conf" "$conf"
munged --force --key-file="$state/munge/key" --socket="$state/munge/socket" \
  --pid-file="$state/munged.pid" --log-file="$state/munged.log" --seed-file="$state/munge/seed"
slurmctld -c
slurmd
for _ in $(seq 100); do
  sinfo --noheader --format=%t 2>/dev/null | grep -q idle && exit 0
  sleep 0.1
done
echo "start.sh: no idle node after 10 s; see $state/*.log" >&2
exit 1
