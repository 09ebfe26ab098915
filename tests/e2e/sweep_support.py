"""What tests of sweeps share: a small one, and a program that stands for its trials. Not a test."""

import json
import stat

from support import SOURCE, Case, strict_json

# Stands for `makemoe train --resume --out RUN`: a few evaluations, in a tenth of a second. $4 is RUN.
QUICK_TRIAL = """#!/bin/sh
for step in 0 10 20; do
  echo "{\\"step\\": $step, \\"val/loss\\": $((30 - step)).$$}" >> "$4/metrics.jsonl"
  sleep 0.03
done
echo run >> "$4/ends"
"""


class SweepCase(Case):
    def write(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def small_sweep(self, **changes):
        """Four trials of a small model, a grid; each takes half a second."""
        return self.write("small.json", {
            "base": str(SOURCE / "configs" / "tiny.json"),
            "set": {"data.path": str(self.text), "threads": 1, "model.n_layer": 1, "train.batch_size": 2,
                    "train.eval_interval": 2, "train.log_interval": 1},
            "space": {"optim.learning_rate": {"choices": [0.001, 0.01]}, "model.moe.top_k": {"int": [2, 3]}},
            "strategy": {"kind": "grid"}, "budget": {"steps": 4}, **changes})

    def quick_program(self, text=QUICK_TRIAL):
        path = self.write("trial.sh", text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return {"MAKEMOE_TEST_TRIAL_COMMAND": str(path)}

    def status(self, folder):
        return strict_json(self.done("sweep", "status", folder, "--json").out)
