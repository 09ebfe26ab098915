"""train.precision of the real binary: refused in one message where the processor lacks it, else a run like any other."""

import json
import pathlib
import unittest

from support import RESOURCES, TEXT, TINY, USAGE, RunCase, makemoe, strict_json

BFLOAT16 = ("--set", "train.precision=bfloat16")
EMULATED = {"MAKEMOE_EMULATE_BF16": "1"}  # in plain code what the instructions do


def has_bfloat16():
    info = pathlib.Path("/proc/cpuinfo")
    return info.exists() and "avx512_bf16" in info.read_text().split()


class Precision(RunCase):
    @unittest.skipIf(has_bfloat16(), "this processor has avx512_bf16")
    def test_a_processor_without_it_refuses_before_anything_is_written(self):
        for command in (("train", *self.small, "--out", self.folder / "run"), ("bench", "--config", TINY)):
            result = makemoe(*command, *BFLOAT16)
            self.assert_refused(result, RESOURCES, ("train.precision", "avx512_bf16", "float32"))
        self.assertEqual(list(self.folder.iterdir()), [])

    @unittest.skipUnless(has_bfloat16(), "this processor has no avx512_bf16")
    def test_a_processor_that_has_it_learns(self):
        self.learns({})

    def test_its_emulation_learns(self):
        self.learns(EMULATED)

    def learns(self, env):
        run = self.folder / "run"
        self.done("train", "--config", TINY, "--data", TEXT, "--out", run, *BFLOAT16, env=env)
        rows = [strict_json(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses = [row["val/loss"] for row in rows if "val/loss" in row]
        self.assertLess(losses[-1], losses[0] - 0.5)
        # What it learned is evaluated in float, on any processor and by either kernels.
        evaluated = [json.loads(self.done("eval", run, "--json", "--set", f"model.kernels={kernels}").out)["loss"]
                     for kernels in ("fast", "reference")]
        self.assertEqual(evaluated[0], min(losses))
        self.assertAlmostEqual(*evaluated, delta=1e-4)

    def test_a_stopped_run_goes_on_bit_for_bit_and_in_no_other_precision(self):
        whole, stopped = self.folder / "whole", self.folder / "stopped"
        self.assertEqual(self.train_small(whole, *BFLOAT16, env=EMULATED).code, 0)
        self.assertEqual(self.train_small(stopped, *BFLOAT16, "--stop-after", 1, env=EMULATED).code, 0)
        changed = makemoe("train", "--resume", "--out", stopped, "--set", "train.precision=float32")
        self.assert_refused(changed, USAGE, ("train.precision", "--resume"))
        self.done("train", "--resume", "--out", stopped, env=EMULATED)
        self.assert_same_end(whole, stopped)
        weights = [(run / "checkpoints" / self.last.name / "model.safetensors").read_bytes()
                   for run in (whole, self.run_folder)]
        self.assertNotEqual(*weights)

    def test_the_reference_kernels_refuse_it(self):
        result = self.train_small(self.folder / "run", *BFLOAT16, "--set", "model.kernels=reference", env=EMULATED)
        self.assert_refused(result, USAGE, ("train.precision", "model.kernels"))

    def test_a_precision_that_is_none_is_refused_with_those_that_are(self):
        result = self.train_small(self.folder / "run", "--set", "train.precision=float16")
        self.assert_refused(result, USAGE, ("train.precision", "float32", "bfloat16"))


if __name__ == "__main__":
    unittest.main()
