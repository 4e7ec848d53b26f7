#!/bin/bash
# Tests and measures one NVIDIA GPU in nine minutes:
#
#   benchmarks/accelerator.sh [FOLDER]                     # default: $OUT, or runs/accelerator
#   SIZE=tiny JAX_PLATFORMS=cpu benchmarks/accelerator.sh  # the same script on a CPU
#
#   tests        compares cudnn attention and bfloat16 products with their references (pytest)
#   step         compares loss and gradients of one step with those on the CPU
#   speed_128m   tokens/s of training steps: xla and cudnn, one example per batch row and eight
#   speed_1b     the same for a model of 1B parameters, one example per batch row
#   decode       tokens/s of greedy decoding, float32 and bfloat16
#
# Needs Python with jax, flax, optax, numpy and pytest, and none of the packages that read data.
# PYTHON names another interpreter, COMMIT the commit of a copy of the tree without its history.
# Each part has a time limit, and a folder for its JSON file and its log. A part that fails does not
# stop the next. At the end the script prints a line per part; its exit code is 1 if any failed.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
here=$PWD
folder=${1:-${OUT:-runs/accelerator}}
mkdir -p "$folder" && folder=$(cd "$folder" && pwd) || exit 1
python=${PYTHON:-python3}
size=${SIZE:-full}
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
COMMIT=${COMMIT:-$(git rev-parse --short HEAD 2> "$folder/git.log" || echo unknown)}
export COMMIT
started=$SECONDS
budget=540; [[ $size == tiny ]] && budget=1500  # of a busy CPU
lines=()
failed=0

# part NAME SECONDS COMMAND...   runs the command with its results in FOLDER/NAME
part() {
  local name=$1 limit=$2 start=$SECONDS code=0 duration
  shift 2
  local left=$((budget - 10 - (SECONDS - started)))
  ((limit < left)) || limit=$left
  mkdir -p "$folder/$name"
  if ((left < 5)); then
    lines+=("$name: FAILED, no time was left")
    failed=1
    return
  fi
  echo "== $name, at most $limit s: $*"
  RESULTS=$folder/$name timeout -k 5 "$limit" "$@" 2>&1 | tee "$folder/$name/log.txt"
  code=${PIPESTATUS[0]}
  duration="$((SECONDS - start)) s"
  if ((code == 124 || code == 137)); then
    lines+=("$name: FAILED, more than $limit s")
    failed=1
  elif ((code != 0)); then
    lines+=("$name: FAILED with $code after $duration, see $name/log.txt")
    failed=1
  elif grep -qs '"failed"' "$folder/$name"/*.json; then
    lines+=("$name: FAILED in part after $duration, see its JSON file")
    failed=1
  else
    lines+=("$name: done in $duration")
  fi
}

"$python" -c '
import importlib.util, sys
lacking = [name for name in ("jax", "flax", "optax", "numpy", "pytest")
           if importlib.util.find_spec(name) is None]
if lacking:
  sys.exit(f"{sys.executable} lacks {chr(44).join(lacking)}: install them, or name a folder that "
           "holds them in PYTHONPATH, or another interpreter in PYTHON.")
import jax
print(jax.__version__, jax.devices())' || exit 1

tests=(tests/nn/test_attention.py tests/nn/test_products.py tests/inference/test_products.py)
speed=("$python" benchmarks/accelerator_speed.py --repeats 5)
decode=("$python" benchmarks/decode_speed.py --contenders "ours,ours_bfloat16")
# Without the project's conftest, which asks for CPUs.
check=("$python" -m pytest -q --noconftest -p no:cacheprovider -k "cudnn or products")
if [[ $size == tiny ]]; then
  part tests 600 "${check[@]}" "${tests[@]}"
  part step "${STEP_S:-400}" "$python" benchmarks/accelerator_step.py --size tiny
  part speed_tiny 400 "${speed[@]}" --models tiny --rows 128 --tokens 256 --attention xla --steps 1
  part decode 400 "${decode[@]}" --sizes tiny --repeats 1
else
  part tests 110 "${check[@]}" "${tests[@]}"
  part step 70 "$python" benchmarks/accelerator_step.py
  part speed_128m 110 "${speed[@]}" --models 128m --rows 2048
  part speed_1b 130 "${speed[@]}" --models 1b --rows 2048 --segments 1
  part decode 100 "${decode[@]}" --sizes 4M --repeats 3
fi

echo "== $((SECONDS - started)) s, results in $folder"
printf '%s\n' "${lines[@]}" | tee "$folder/summary.txt"
exit "$failed"
