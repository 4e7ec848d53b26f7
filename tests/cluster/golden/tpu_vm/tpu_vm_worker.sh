#!/bin/bash
# What each worker of a Cloud TPU does: bash worker.sh install, then bash worker.sh train.
# Copied there by tpu_vm.sh. NOBODY HAS RUN THIS on a TPU.

set -eu
cd "$HOME/audiopalm"
bucket=my-runs
storage=/storage
package='audiopalm[data,tpu]==1.0'
train=(train config.json --workdir /storage/mine --hang-s 1800.0)

install() {
  # The image brings an older Python than audiopalm takes.
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

train() {
  local code=0
  # One that was left behind where a connection broke would hold the TPU.
  pkill -TERM -f 'venv/bin/python -m audiopalm train' && sleep 60
  JAX_COMPILATION_CACHE_DIR=/storage/mine/compiled venv/bin/python -m audiopalm "${train[@]}" \
    --coordinator-address auto ||
    code=$?
  echo "audiopalm ended with $code"
}

"$1"
