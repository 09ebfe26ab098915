#!/usr/bin/env bash
# One training step of configs/makemoe.json on two threads, the machine idle and with a busy loop
# pinned to one of its two cores, of makemoe and of PyTorch in Python; medians of rounds.
# Usage: bench/disturbed.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds="${1:-3}"
python=python3
if [[ -x .venv/bin/python ]]; then python=.venv/bin/python; fi
results="$(mktemp -d)"
busy=""
trap 'rm -rf "$results"; [[ -z "$busy" ]] || kill "$busy"' EXIT

measure() {  # STATE
  local round
  for ((round = 0; round < rounds; ++round)); do
    taskset -c 0,1 build/makemoe bench --config configs/makemoe.json --set threads=2 --json \
      >"$results/makemoe-$1-$round"
    taskset -c 0,1 "$python" bench/python_baseline.py --threads 2 --tokens 1 \
      >"$results/python-$1-$round"
  done
}

measure idle
taskset -c 0 bash -c 'while :; do :; done' &
busy=$!
measure disturbed

"$python" - "$results" <<'PY'
import json, pathlib, statistics, sys

for who in ("makemoe", "python"):
    idle, disturbed = (statistics.median(json.loads(path.read_text())["train_ms_per_step"]
                                         for path in pathlib.Path(sys.argv[1]).glob(f"{who}-{state}-*"))
                       for state in ("idle", "disturbed"))
    print(f"{who:8} idle {idle:7.1f} ms   disturbed {disturbed:7.1f} ms   {disturbed / idle:.2f} times")
PY
