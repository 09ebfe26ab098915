#!/usr/bin/env bash
# makemoe against PyTorch in Python, side by side on this machine: three rounds of each in turn,
# medians, and the ratios. Usage: bench/compare.sh [THREADS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
threads="${1:-$(nproc)}"
python=python3
if [[ -x .venv/bin/python ]]; then python=.venv/bin/python; fi
results="$(mktemp -d)"
trap 'rm -rf "$results"' EXIT
for round in 1 2 3; do
  build/makemoe bench --config configs/makemoe.json --set "threads=$threads" --json >"$results/ours-$round"
  "$python" bench/python_baseline.py --threads "$threads" >"$results/python-$round"
done
"$python" - "$results" <<'PY'
import json, pathlib, statistics, sys
folder = pathlib.Path(sys.argv[1])
rounds = {who: [json.loads((folder / f"{who}-{i}").read_text()) for i in (1, 2, 3)] for who in ("ours", "python")}
for key in ("train_tokens_per_second", "eval_tokens_per_second", "generate_tokens_per_second"):
    ours, python = ([r[key] for r in rounds[who]] for who in ("ours", "python"))
    ratios = sorted(a / b for a, b in zip(ours, python))
    print(f"{key:28} makemoe {statistics.median(ours):9.1f}  python {statistics.median(python):9.1f}  "
          f"ratio {ratios[1]:.2f} ({ratios[0]:.2f} to {ratios[2]:.2f})")
PY
