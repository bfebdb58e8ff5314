#!/usr/bin/env bash
#SBATCH --job-name=visor_jax
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#
# Runs a job under SLURM, one process for each GPU, and starts it again when it
# dies.
#
#   sbatch --nodes=4 --time=24:00:00 launch/slurm.sh --config=FILE --workdir=DIR
#   launch/slurm.sh --dry-run --config=FILE --workdir=DIR
#
# Any option of sbatch goes before the script and overrides the lines on top.
# Run it in the environment in which visor_jax is installed, and on a workdir
# that all nodes share, or in a bucket (gs://, s3://).
#
# VISOR_RESTARTS=N   how often to start again what died, default 10
#
# Five minutes before its time is up, and when it is preempted, SLURM tells the
# processes, which save and leave with code 75; the job then queues again. A
# process that dies takes the others with it; then all start again, in the same
# allocation. Code 1 means that all processes refused alike: no use in trying.
set -euo pipefail

dry='' flags=()
for flag in "$@"; do
  case $flag in
    --dry-run) dry=1 ;;
    --help | -h) sed -n '10,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --) ;;
    *) flags+=("$flag") ;;
  esac
done
if [[ "${flags[*]-}" != *--config* || "${flags[*]}" != *--workdir* ]]; then
  echo 'error: give --config=FILE --workdir=DIR' >&2
  exit 2
fi
if [[ " ${flags[*]}" =~ \ --?workdir[=\ ]([a-z0-9+.-]+://[^ ]*) ]]; then
  workdir=${BASH_REMATCH[1]}
  if [[ ! $workdir =~ ^(gs|s3):// ]]; then
    echo "error: --workdir=$workdir is neither a folder nor gs:// nor s3://;" \
      'mount it on all nodes and name its folder' >&2
    exit 2
  fi
fi
command=(srun --kill-on-bad-exit=1 --label
         python -m visor_jax.main "${flags[@]}")
if [[ $dry ]]; then
  printf '%q ' sbatch "$0" "${flags[@]}"; echo
  printf '%q ' "${command[@]}"; echo
  exit 0
fi
if [[ ! ${SLURM_JOB_ID-} ]]; then
  echo 'error: SLURM_JOB_ID is not set; start with sbatch' >&2
  exit 2
fi

restarts=${VISOR_RESTARTS:-10}
if [[ ! $restarts =~ ^[0-9]+$ ]]; then
  echo "error: VISOR_RESTARTS is '$restarts'; expected a whole number" >&2
  exit 2
fi
# What SLURM takes away (75) is no death: it may do so as often as it likes.
for ((deaths = 0; deaths <= restarts; deaths++)); do
  code=0
  "${command[@]}" || code=$?
  case $code in
    0 | 1) exit "$code" ;;
    75)
      echo 'told to stop: saved, and queueing again'
      scontrol requeue "$SLURM_JOB_ID"
      exit 75 ;;
  esac
  echo "the job died with code $code; start $((deaths + 2)) of $((restarts + 1))"
done
exit "$code"
