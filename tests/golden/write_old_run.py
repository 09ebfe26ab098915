#!/usr/bin/env python3
"""Writes tests/golden/old_run: a run of ten updates by an older makemoe, and the losses of its next five.

tests/golden/write_old_run.py OLD_BINARY, with a makemoe built from commit 001e3c5. tests/e2e/old_run_test.py reads it.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
TEXT = SOURCE / "data" / "the-lantern-keepers.txt"
CONFIG = {"threads": 1, "device": "cpu",
          "model": {"n_embed": 8, "n_head": 2, "n_layer": 2, "block_size": 8, "init": "kaiming_normal",
                    "moe": {"num_experts": 3, "top_k": 2, "capacity_factor": 0.9}},
          "optim": {"learning_rate": 0.01, "grad_clip": 1.0},
          "train": {"max_iters": 15, "batch_size": 4, "grad_accumulation": 2, "eval_interval": 10, "log_interval": 1}}


def main(binary):
    out = SOURCE / "tests" / "golden" / "old_run"
    with tempfile.TemporaryDirectory() as folder:
        run, config, text = (pathlib.Path(folder) / name for name in ("run", "config.json", "text.txt"))
        config.write_text(json.dumps(CONFIG))
        shutil.copy(TEXT, text)  # checkpoints remember where it lay
        train = [binary, "train", "--data", text, "--out", run]
        subprocess.run([*train, "--config", config, "--stop-after", "10"], check=True)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for name in ("config.json", "tokenizer.json", "metrics.jsonl"):
            shutil.copy(run / name, out)
        facts = json.loads((run / "run.json").read_text()) | {"host": "host"}
        (out / "run.json").write_text(json.dumps(facts, indent=2) + "\n")
        shutil.copytree(run / "checkpoints", out / "checkpoints", ignore=lambda _, names: [n for n in names if n == "step-00000000"])
        subprocess.run([*train, "--resume"], check=True)
        rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        losses = {row["step"]: row["train/step_loss"] for row in rows if row["step"] > 10 and "train/step_loss" in row}
    (out / "losses.json").write_text(json.dumps(losses, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
