#!/usr/bin/env bash
# The same command on machines that ssh reaches; docs/pods.md.
#
#   tools/pods/ssh.sh "HOST0 HOST1 …" run_train.py --config configs/sequential.py:paper --workdir DIR
#
# The project lies in condmis_jax/ in the home folder of each, and DIR is a folder that all share.
# Process 0, on HOST0, is found by the others at port $CONDMIS_PORT (12321 unless set).
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
read -ra hosts <<<"$1"
shift
arguments=$(printf '%q ' "$@" --config.hosts.kind=explicit)
pids=()
for i in "${!hosts[@]}"; do
  where="CONDMIS_COORDINATOR=${hosts[0]#*@}:${CONDMIS_PORT:-12321}"
  where+=" CONDMIS_PROCESSES=${#hosts[@]} CONDMIS_PROCESS=$i"
  ssh "${hosts[$i]}" "cd condmis_jax && $where .venv/bin/python $arguments" &
  pids+=($!)
done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit "$status"
