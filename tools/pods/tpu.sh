#!/usr/bin/env bash
# The same command on every worker of a Cloud TPU slice; docs/pods.md says how the slice is set up.
#
#   tools/pods/tpu.sh SLICE ZONE run_train.py --config configs/sequential.py:paper --workdir DIR
#
# DIR is gs://BUCKET/RUN, or a folder that all workers share.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
slice=$1 zone=$2
shift 2
exec gcloud compute tpus tpu-vm ssh "$slice" --zone "$zone" --worker all \
  --command "cd condmis_jax && .venv/bin/python $(printf '%q ' "$@" --config.hosts.kind=auto)"
