#!/usr/bin/env bash
# A step against its floor over shapes: products at the machine's rate plus the update's memory at its
# rate, both measured in the same run. Usage: bench/shapes.sh [THREADS [STEPS]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
threads="${1:-$(nproc)}"
steps="${2:-15}"
python=python3
if [[ -x .venv/bin/python ]]; then python=.venv/bin/python; fi
row="$(
  cat <<'PY'
import json, sys
result = json.load(sys.stdin)
step, peak, machine = result["train_ms_per_step"], result["peak_memory_bytes"], result["machine"]
floor = sum(machine["floor_ms"].values())
cells = [*sys.argv[1:], f"{step:.1f}", f"{floor:.1f}", f"{step / floor:.2f}",
         f"{machine['train_gflops']:.0f} of {machine['product_gflops']:.0f}",
         f"{machine['memory_gb_per_second']:.0f}", f"{peak / 1e6:.0f}"]
print("|", " | ".join(cells), "|")
PY
)"
measure() {
  build/makemoe bench --config configs/makemoe.json --steps "$steps" --json --set "threads=$threads" \
    --set "model.n_embed=$1" --set "model.moe.num_experts=$2" --set "model.block_size=$3" |
    "$python" -c "$row" "$@"
}
build/makemoe --version | head -n 1
echo "| n_embed | experts | block | step [ms] | floor [ms] | times | GFLOP/s | memory [GB/s] | peak [MB] |"
echo "|---|---|---|---|---|---|---|---|---|"
for embed in 128 256 384; do
  for experts in 8 16 64; do measure "$embed" "$experts" 32; done
  for block in 128 256; do measure "$embed" 8 "$block"; done
done
