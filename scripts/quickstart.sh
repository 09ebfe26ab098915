#!/usr/bin/env bash
# Set-up, build, data, a training run of about two minutes, its losses and a sample.
set -euo pipefail
exec </dev/null
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$MAKEMOE_ROOT"

say() { printf '\n[quickstart] %s\n' "$*"; }

setup_all

say "building (build/makemoe)"
cmake --preset release --log-level=ERROR
cmake --build --preset release --target makemoe

text=data/tinyshakespeare.txt
if ! data/fetch.sh; then
  text=data/the-lantern-keepers.txt
  say "tinyshakespeare could not be downloaded; training on $text instead." \
    "That text is small, so expect a higher loss and a poorer sample."
fi

run=runs/quickstart
number=2
while [[ -e "$run" ]]; do
  run="runs/quickstart-$number"
  number=$((number + 1))
done

say "training configs/quickstart.json on $text into $run"
build/makemoe train --config configs/quickstart.json --data "$text" --out "$run"

say "validation loss"
python3 - "$run/metrics.jsonl" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    rows = [row for row in map(json.loads, file) if row.get("val/loss") is not None]
if not rows:
    sys.exit(f"{sys.argv[1]}: no row has val/loss")
for name, row in (("before", rows[0]), ("after", rows[-1])):
    step = f" (step {row['step']})" if "step" in row else ""
    print(f"  {name + ':':8}{row['val/loss']:.4f} nats per character{step}")
PYTHON

say "a sample of 500 characters"
build/makemoe generate "$run" --max-new-tokens 500
say "the run is in $run (metrics.jsonl, log.txt, checkpoints); its report: $run/report.html"
