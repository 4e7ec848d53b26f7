#!/bin/bash
# Trains on a Cloud TPU. Written by `audiopalm launch --on tpu_vm`; bash THIS_FILE runs it, on a machine
# that stays on (in tmux, say). It asks for the TPU, waits for it, installs, trains on all of its
# workers, asks for another one when that is taken away, and deletes it at the end, however that comes.
#
# NOBODY HAS RUN THIS on a TPU: it was tested with a gcloud that is made up.
#
#   training ends with          this script
#   0  done                     ends
#   75 saved, please requeue    trains again, on another TPU if this one is gone
#   2  input, 71 bad steps,
#   72 a faulty device          ends: started again it would end in the same way
#   70 hung, and all others     trains again, {{restarts}} times in a row
#
# Ctrl-C deletes the TPU at once: what was not saved by then is trained again the next time.

set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name={{name}}
at=(--project {{project}} --zone {{zone}})
kind=(--accelerator-type {{accelerator}} --runtime-version {{runtime}} {{spot}})
wheel={{wheel}}  # empty where pip finds the package elsewhere
poll_s=${POLL_S:-30}
restarts={{restarts}}
log="$here/$name.log"

tpus() { gcloud compute tpus "$@" "${at[@]}"; }
state() { tpus queued-resources describe "$name" --format='value(state.state)' 2> /dev/null || echo GONE; }
on_all() { tpus tpu-vm ssh "$name" --worker=all --command="$1"; }
copy() { tpus tpu-vm scp "$1" "$name:$2" --worker=all; }

give_back() {
  [ "$(state)" = GONE ] || tpus queued-resources delete "$name" --force --quiet
}

ask() {
  give_back && tpus queued-resources create "$name" --node-id "$name" "${kind[@]}" || return
  local now
  while now=$(state); [ "$now" != ACTIVE ]; do
    case $now in
      FAILED | SUSPENDING | SUSPENDED | GONE)
        echo "The request for the TPU ended as $now: gcloud compute tpus queued-resources describe $name"
        return 1
        ;;
    esac
    sleep "$poll_s"
  done
}

install() {
  on_all 'mkdir -p audiopalm' || return
  copy "$here/tpu_vm_worker.sh" audiopalm/worker.sh || return
  copy "$here/config.json" audiopalm/config.json || return
  {{machine}}
  if [ -n "$wheel" ]; then
    copy "$wheel" "audiopalm/$(basename "$wheel")" || return
  fi
  on_all 'bash audiopalm/worker.sh install'
}

# Prints the exit code of the worker that failed first, 0 if none did, nothing if none said one: that of
# gcloud is its own.
train() {
  on_all 'bash audiopalm/worker.sh train' 2>&1 | tee -a "$log" | tee /dev/stderr |
    awk '/audiopalm ended with [0-9]+$/ { said = 1; if (!first) first = $NF }
      END { if (said) print first + 0 }'
}

if [ "$(state)" != GONE ]; then
  echo "There is a TPU called $name in this project and zone, which may be at work for somebody. Launch" \
    "with another --name, or delete it: gcloud compute tpus queued-resources delete $name ${at[*]} --force"
  exit 2
fi
trap give_back EXIT
trap 'exit 130' INT TERM
crashes=0
while true; do
  if [ "$(state)" != ACTIVE ]; then
    ask && install || exit 1
  fi
  code=$(train)
  case ${code:-none} in
    0) exit 0 ;;
    2 | 71 | 72)
      echo "Training ended with $code: see $log for what to change."
      exit "$code"
      ;;
    75) crashes=0 ;;
    *)
      if [ "$(state)" = ACTIVE ]; then
        crashes=$((crashes + 1))
        if [ "$crashes" -gt "$restarts" ]; then
          echo "Training ended with ${code:-no code}, after $restarts restarts in a row: see $log."
          exit "${code:-1}"
        fi
      fi
      ;;
  esac
  echo "Training ended with ${code:-no code}; the TPU is $(state). It goes on from its checkpoint."
done
