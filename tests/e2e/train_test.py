"""The real binary, from training to text: results repeat, stops lose nothing, errors say what to do."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

BINARY = os.environ["MAKEMOE_BIN"]
SOURCE = pathlib.Path(os.environ["MAKEMOE_SOURCE_DIR"])
TEXT = SOURCE / "data" / "the-lantern-keepers.txt"
TINY = SOURCE / "configs" / "tiny.json"
STEPS = 40


def makemoe(*arguments, env=None):
    return subprocess.run(
        [BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
    )


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def train(self, name, *arguments, env=None):
        run = self.folder / name
        result = makemoe("train", "--config", TINY, "--data", TEXT, "--out", run, *arguments, env=env)
        return run, result

    def trained(self, name="run", *arguments):
        run, result = self.train(name, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return run

    def assert_same_end(self, a, b):
        """Weights and moments byte for byte; state.json apart from times."""
        last_a, last_b = (r / "checkpoints" / f"step-{STEPS:08d}" for r in (a, b))
        for name in ("model.safetensors", "optimizer.safetensors"):
            self.assertEqual((last_a / name).read_bytes(), (last_b / name).read_bytes(), name)
        states = [json.loads((r / "state.json").read_text()) for r in (last_a, last_b)]
        for state in states:
            state.pop("times")
        self.assertEqual(*states)
        metrics = [[json.loads(line) for line in (r / "metrics.jsonl").read_text().splitlines()] for r in (a, b)]
        for rows in metrics:
            for row in rows:
                row.pop("time_s", None), row.pop("tokens_per_second", None)
        self.assertEqual(*metrics)


class Resume(Folder):
    def test_the_same_seed_gives_the_same_bytes(self):
        self.assert_same_end(self.trained("a"), self.trained("b"))

    def test_a_run_stopped_at_any_step_resumes_bit_for_bit(self):
        whole = self.trained("whole")
        for step in (1, 7, 10, 23, 39):
            run = self.trained(f"stopped-{step}", "--stop-after", step)
            result = makemoe("train", "--resume", "--out", run)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assert_same_end(whole, run)

    def test_a_damaged_newest_checkpoint_falls_back_and_says_so(self):
        whole, run = self.trained("whole"), self.trained("run", "--stop-after", "30")
        weights = run / "checkpoints" / "step-00000030" / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
        self.assertEqual(makemoe("eval", f"{run}@30").returncode, 4)
        result = makemoe("train", "--resume", "--out", run)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("model.safetensors", result.stderr)
        self.assert_same_end(whole, run)

    def test_a_finished_run_ends_at_once_and_a_raised_max_iters_extends_it(self):
        run = self.trained()
        before = (run / "metrics.jsonl").read_text()
        self.assertEqual(makemoe("train", "--resume", "--out", run).returncode, 0)
        self.assertEqual((run / "metrics.jsonl").read_text(), before)
        result = makemoe("train", "--resume", "--out", run, "--set", "train.max_iters=45", "--json")
        self.assertEqual(json.loads(result.stdout)["step"], 45)

    def test_resume_refuses_another_model_and_another_text(self):
        run = self.trained("run", "--stop-after", "5")
        result = makemoe("train", "--resume", "--out", run, "--set", "model.n_layer=3")
        self.assertEqual(result.returncode, 2)
        self.assertIn("model.n_layer", result.stderr)
        other = self.folder / "other.txt"
        other.write_text(TEXT.read_text()[::-1])
        self.assertEqual(makemoe("train", "--resume", "--out", run, "--data", other).returncode, 3)


class Commands(Folder):
    def test_eval_info_and_generate_print_one_json_object(self):
        run = self.trained()
        evaluated = json.loads(makemoe("eval", run, "--json").stdout)
        self.assertEqual(evaluated["step"], STEPS)
        for row in evaluated["expert_load"]:
            self.assertAlmostEqual(sum(row), 1, places=9)
        best = json.loads((run / "run.json").read_text())["best_val_loss"]
        self.assertEqual(evaluated["loss"], best)
        self.assertGreater(evaluated["bits_per_byte"], 0)
        self.assertEqual(json.loads(makemoe("info", run, "--json").stdout)["step"], STEPS)
        arguments = ("generate", run, "--seed", 3, "--max-new-tokens", 50, "--num-samples", 2, "--json")
        first, second = (json.loads(makemoe(*arguments).stdout) for _ in range(2))
        self.assertEqual(first["samples"], second["samples"])
        self.assertEqual([len(s["token_ids"]) for s in first["samples"]], [50, 50])

    def test_exported_weights_come_back_as_a_run_with_the_same_loss(self):
        run, weights, back = self.trained(), self.folder / "w.safetensors", self.folder / "back"
        self.assertEqual(makemoe("export", run, "--format", "makemoe", "--out", weights).returncode, 0)
        result = makemoe("import", weights, "--config", TINY, "--data", TEXT, "--out", back)
        self.assertEqual(result.returncode, 0, result.stderr)
        losses = [json.loads(makemoe("eval", r, "--json").stdout)["loss"] for r in (run, back)]
        self.assertEqual(*losses)

    def test_a_folder_in_use_or_occupied_is_left_alone(self):
        run = self.trained()
        _, result = self.train("run")
        self.assertEqual(result.returncode, 6)
        self.assertIn("--resume", result.stderr)


if __name__ == "__main__":
    unittest.main()
