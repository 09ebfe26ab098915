#!/usr/bin/env bash
# makemoe against PyTorch in Python, side by side on this machine: rounds of each in turn, medians
# and their range, and the ratios. Usage: bench/compare.sh [THREADS [ROUNDS [CONFIG]]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
threads="${1:-$(nproc)}"
rounds="${2:-3}"
config="${3:-configs/makemoe.json}"
python=python3
if [[ -x .venv/bin/python ]]; then python=.venv/bin/python; fi
results="$(mktemp -d)"
trap 'rm -rf "$results"' EXIT
mapfile -t shape < <(build/makemoe config show --config "$config" | "$python" -c '
import json, sys
config = json.load(sys.stdin)
model = config["model"]
for flag, value in (("batch-size", config["train"]["batch_size"]), ("block-size", model["block_size"]),
                    ("n-embed", model["n_embed"]), ("n-head", model["n_head"]), ("n-layer", model["n_layer"]),
                    ("num-experts", model["moe"]["num_experts"]), ("top-k", model["moe"]["top_k"])):
    print(f"--{flag}={value}")
')
for ((round = 0; round < rounds; ++round)); do
  build/makemoe bench --config "$config" --set "threads=$threads" --json >"$results/ours-$round"
  "$python" bench/python_baseline.py --threads "$threads" "${shape[@]}" >"$results/python-$round"
  "$python" bench/python_baseline.py --threads "$threads" "${shape[@]}" --fused >"$results/fused-$round"
done
build/makemoe --version | head -n 1
echo "$config, $threads threads: tokens a second"
"$python" - "$results" "$rounds" <<'PY'
import json, pathlib, statistics, sys

folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
rounds = {who: [json.loads((folder / f"{who}-{i}").read_text()) for i in range(count)] for who in ("ours", "python", "fused")}


def of(row, path):
    for key in path.split("/"):
        row = row[key]
    return row


def compare(label, ours, python, against="python"):
    a = [of(r, ours) for r in rounds["ours"]]
    b = [of(r, python) for r in rounds[against]]
    ratios = sorted(x / y for x, y in zip(a, b))
    print(f"{label:42} makemoe {statistics.median(a):9.1f}  python {statistics.median(b):9.1f}  "
          f"ratio {statistics.median(ratios):6.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


train, evaluate, generate = (f"{what}_tokens_per_second" for what in ("train", "eval", "generate"))
compare("training", train, train)
compare("training, Python's AdamW(fused=True)", train, train, "fused")
compare("evaluation", evaluate, evaluate)
compare("generation, 100 tokens from one", generate, generate)
compare("generation within the context", "generate_1_tokens_per_second/within_context", generate)
compare("generation beyond the context", "generate_1_tokens_per_second/beyond_context", generate)
compare("32 sequences within the context", "generate_32_tokens_per_second/within_context", generate)
compare("32 sequences beyond the context", "generate_32_tokens_per_second/beyond_context", generate)
PY
