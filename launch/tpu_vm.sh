#!/bin/bash
# Trains on a Cloud TPU. Written by `audiopalm launch --on tpu_vm`.
#
#   bash THIS_FILE            on a machine that stays on, for example in tmux: requests the TPU, waits for
#                             it, installs, trains on all of its workers, requests another TPU if this one
#                             is taken away, and deletes it at the end, on errors too
#   bash worker.sh install    on each worker, where this script copies itself
#   bash worker.sh train
#
# UNTESTED on a TPU: tested with a mock of gcloud only.
#
#   exit code of training         this script
#   0  done                       ends
#   75 saved, please requeue      trains again, on another TPU if this one is gone
#   2  input, 71 bad steps,
#   72 faulty device              ends: training would fail again in the same way
#   70 hung, and all others       trains again, at most {{restarts}} times in a row
#
# Ctrl-C deletes the TPU at once: the next start repeats the steps since the last checkpoint.

set -u
name={{name}}
at=(--project {{sh project}} --zone {{sh zone}})
kind=(--accelerator-type {{sh accelerator}} --runtime-version {{sh runtime}} {{spot}})
wheel={{sh wheel}}  # empty where pip finds the package elsewhere
package={{sh package}}
bucket={{sh bucket}}
storage={{storage}}
train=({{sh train}})
cache={{sh cache}}
restarts={{restarts}}
poll_s=${POLL_S:-30}

worker_install() {
  set -e
  # The Python of the image is too old for audiopalm.
  python3 -m pip install --quiet --user uv
  python3 -m uv venv --quiet --allow-existing --python 3.12 venv
  python3 -m uv pip install --quiet --python venv/bin/python "$package"
  if ! command -v gcsfuse > /dev/null; then
    echo "deb [signed-by=/usr/share/keyrings/cloud.google.asc] https://packages.cloud.google.com/apt" \
      "gcsfuse-$(lsb_release -c -s) main" | sudo tee /etc/apt/sources.list.d/gcsfuse.list > /dev/null
    curl --silent --fail https://packages.cloud.google.com/apt/doc/apt-key.gpg |
      sudo tee /usr/share/keyrings/cloud.google.asc > /dev/null
    sudo apt-get -q update
    sudo apt-get -q install --yes gcsfuse
  fi
  if ! mountpoint --quiet "$storage"; then
    sudo mkdir -p "$storage"
    sudo chown "$(id -u):$(id -g)" "$storage"
    gcsfuse --implicit-dirs "$bucket" "$storage"
  fi
}

worker_train() {
  # A process left behind by a broken connection would hold the TPU.
  pkill -TERM -f 'venv/bin/python -m audiopalm train' && sleep 60
  JAX_COMPILATION_CACHE_DIR=$cache venv/bin/python -m audiopalm "${train[@]}" --coordinator-address auto
  echo "audiopalm ended with $?"
}

if [ $# -gt 0 ]; then
  cd "$HOME/audiopalm" || exit
  "worker_$1"
  exit
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
log="$here/$name.log"

tpus() { gcloud compute tpus "$@" "${at[@]}"; }
state() { tpus queued-resources describe "$name" --format='value(state.state)' 2> /dev/null || echo GONE; }
on_all() { tpus tpu-vm ssh "$name" --worker=all --command="$1"; }
copy() { tpus tpu-vm scp "$1" "$name:$2" --worker=all; }

delete_tpu() {
  [ "$(state)" = GONE ] || tpus queued-resources delete "$name" --force --quiet
}

request_tpu() {
  delete_tpu && tpus queued-resources create "$name" --node-id "$name" "${kind[@]}" || return
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

install_on_all() {
  on_all 'mkdir -p audiopalm' || return
  copy "${BASH_SOURCE[0]}" audiopalm/worker.sh || return
  copy "$here/config.json" audiopalm/config.json || return
  {{machine}}
  if [ -n "$wheel" ]; then
    copy "$wheel" "audiopalm/$(basename "$wheel")" || return
  fi
  on_all 'bash audiopalm/worker.sh install'
}

# Prints the exit code of the worker that failed first, 0 if none failed, nothing if none reported a code:
# the exit code of gcloud is its own.
train_on_all() {
  on_all 'bash audiopalm/worker.sh train' 2>&1 | tee -a "$log" | tee /dev/stderr |
    awk '/audiopalm ended with [0-9]+$/ { reported = 1; if (!first) first = $NF }
      END { if (reported) print first + 0 }'
}

if [ "$(state)" != GONE ]; then
  echo "A TPU called $name exists in this project and zone and may be in use. Launch with another --name," \
    "or delete it: gcloud compute tpus queued-resources delete $name ${at[*]} --force"
  exit 2
fi
trap delete_tpu EXIT
trap 'exit 130' INT TERM
crashes=0
while true; do
  if [ "$(state)" != ACTIVE ]; then
    request_tpu && install_on_all || exit 1
  fi
  code=$(train_on_all)
  case ${code:-none} in
    0) exit 0 ;;
    2 | 71 | 72)
      echo "Training failed with $code: see $log for what to change."
      exit "$code"
      ;;
    75) crashes=0 ;;
    *)
      if [ "$(state)" = ACTIVE ]; then
        crashes=$((crashes + 1))
        if [ "$crashes" -gt "$restarts" ]; then
          echo "Training ended with ${code:-no code} after $restarts restarts in a row: see $log."
          exit "${code:-1}"
        fi
      fi
      ;;
  esac
  echo "Training ended with ${code:-no code}; the TPU is $(state). Training resumes from its checkpoint."
done
