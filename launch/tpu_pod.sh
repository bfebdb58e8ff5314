#!/usr/bin/env bash
# Runs a job on all workers of a Cloud TPU slice, and starts it again when it
# dies or the slice is taken away.
#
#   launch/tpu_pod.sh --name=NAME --zone=ZONE --type=v5litepod-256 --image=IMAGE \
#       [options] -- --config=FILE --workdir=gs://BUCKET/DIR
#
#   --queued         ask for the slice by a queued resource, and wait for it
#   --spot           a slice that may be taken away
#   --project=ID     else that of gcloud's configuration
#   --version=V      of the runtime; by default the one that fits --type
#   --setup=COMMAND  shell for every worker before each start, for example to
#                    mount the folder of the workdir or to log in to a registry
#   --mount=DIR      folder that the workers share, seen by the job under the same
#                    name; a workdir that is in no bucket lies in it
#   --restarts=N     how often to start again, default 10
#   --stop           tell a running job to save and leave
#   --dry-run        print what would run
#
# A slice that is not there is made; it is yours to delete. IMAGE is built of
# launch/Dockerfile.tpu and must be pulled by the workers. What follows `--` goes to visor_jax.main. Exit
# code: 0 when the job is done, 1 when all workers refused it alike, 75 when it
# was told to stop, else 2.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
die() { printf 'error: %s\n' "$*" >&2; exit 2; }

name='' zone='' type='' image='' project='' version='' setup='true' mount=''
queued='' spot='' stop='' dry='' restarts=10
while (($#)); do
  case $1 in
    --name=* | --zone=* | --type=* | --image=* | --project=* | --version=* | \
      --setup=* | --mount=* | --restarts=*)
      key=${1%%=*}
      printf -v "${key#--}" '%s' "${1#*=}" ;;
    --queued) queued=1 ;;
    --spot) spot=1 ;;
    --stop) stop=1 ;;
    --dry-run) dry=1 ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done
[[ $restarts =~ ^[0-9]+$ ]] ||
  die "--restarts=$restarts: expected 0 or more"
for key in name zone; do [[ ${!key} ]] || die "--$key is missing"; done
if [[ ! $stop ]]; then
  for key in type image; do [[ ${!key} ]] || die "--$key is missing"; done
  [[ "$*" == *--config* && "$*" == *--workdir* ]] ||
    die 'give --config=FILE --workdir=DIR after --'
  workdir='' last=''
  for flag in "$@"; do
    case $flag in
      --workdir=* | -workdir=*) workdir=${flag#*=} ;;
      *) [[ $last =~ ^--?workdir$ ]] && workdir=$flag ;;
    esac
    last=$flag
  done
  [[ ! $mount || $mount == /* ]] ||
    die "--mount=$mount: expected an absolute path"
  case $workdir in
    gs://* | s3://*) ;;
    *://*) die "--workdir=$workdir is neither a folder nor gs:// nor s3://;" \
      'mount it on the workers (--setup) and name its folder' ;;
    *)
      [[ $mount && "$workdir/" == "${mount%/}"/* && "$workdir/" != */../* ]] ||
        die "--workdir=$workdir is not in --mount=$mount, which is all of the" \
          'workers that the job sees; give one that is, or gs:// or s3://' ;;
  esac
fi
if [[ ! $version ]]; then
  case $type in
    v5lite*) version=v2-alpha-tpuv5-lite ;;
    v5p*) version=v2-alpha-tpuv5 ;;
    v6e*) version=v2-alpha-tpuv6e ;;
    *) version=tpu-ubuntu2204-base ;;
  esac
fi
where=("--zone=$zone")
[[ $project ]] && where+=("--project=$project")

run() {
  if [[ $dry ]]; then printf '%q ' "$@"; echo; else "$@"; fi
}

tpus() { run gcloud compute tpus "$@" "${where[@]}"; }

on_workers() { tpus tpu-vm ssh "$name" --worker=all "--command=$1"; }

state() {  # of the slice; empty where there is none
  [[ $dry ]] && return
  if [[ $queued ]]; then
    gcloud compute tpus queued-resources describe "$name" "${where[@]}" \
      --format='value(state.state)' 2>/dev/null || true
  else
    gcloud compute tpus tpu-vm describe "$name" "${where[@]}" \
      --format='value(state)' 2>/dev/null || true
  fi
}

create() {
  local more=("--accelerator-type=$type")
  [[ $spot ]] && more+=(--spot)
  if [[ $queued ]]; then
    tpus queued-resources create "$name" "--node-id=$name" \
      "--runtime-version=$version" "${more[@]}"
  else
    tpus tpu-vm create "$name" "--version=$version" "${more[@]}"
  fi
}

delete() {
  if [[ $queued ]]; then
    tpus queued-resources delete "$name" --force --quiet
  else
    tpus tpu-vm delete "$name" --quiet
  fi
}

ensure() {  # that the slice is there and ready
  while :; do
    case $(state) in
      ACTIVE | READY) return ;;
      '') create; [[ $dry ]] && return ;;
      FAILED | SUSPENDED | PREEMPTED | TERMINATED | STOPPED) delete ;;
      *) echo "waiting for $name"; sleep 30 ;;
    esac
  done
}

halt='sudo docker stop --time=600 visor_jax'
if [[ $stop ]]; then
  on_workers "$halt"
  exit
fi

# The container of a job that died goes with all that runs in it.
job="$setup && { sudo docker rm --force visor_jax || true; }"
job+=' && sudo docker run --name=visor_jax --rm --init --privileged'
job+=' --network=host --shm-size=16g'
[[ $mount ]] && job+=" --volume=$(printf '%q:%q' "$mount" "$mount")"
# gcloud has one exit code for all workers; so each says its own.
# shellcheck disable=SC2016
end='; code=$?; echo "visor_jax ended with $code"; exit $code'

told=''
trap 'told=1; on_workers "$halt" || true' TERM INT
log=$(mktemp)
for ((start = 0; start <= restarts; start++)); do
  ensure
  # A word for this start: what an older one left is a stranger to it.
  line="$job --env=VISOR_JOB=$name-$start-$RANDOM$RANDOM"
  line+=" $(printf '%q ' "$image" "$@")$end"
  if [[ $dry ]]; then on_workers "$line"; exit 0; fi
  { on_workers "$line" 2>&1 | tee "$log"; } &
  wait $! && exit 0
  wait $! || true  # a trap ends the first one
  codes=$({ grep -o 'visor_jax ended with [0-9]*' "$log" || true; } |
    sort -u | tr '\n' ' ')
  [[ $told ]] && exit 75
  [[ $codes == 'visor_jax ended with 1 ' ]] && exit 1
  echo "the job died (${codes:-no worker told its code}); start" \
    "$((start + 2)) of $((restarts + 1))"
done
echo 'that was too often' >&2
exit 2
