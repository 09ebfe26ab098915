"""At a terminal: the live line, colours, and Ctrl-C."""

import json
import unittest

from support import BINARY, DATA, RunCase, at_terminal

ENDLESS = ("--set", "train.max_iters=100000000", "--set", "train.eval_interval=100000000")
CTRL_C = b"\x03"


class Terminal(RunCase):
    def test_training_shows_one_live_line_with_step_loss_rate_and_time_left(self):
        code, seen = at_terminal("train", *self.small, "--out", self.folder / "run")
        self.assertEqual(code, 0, seen)
        self.assertRegex(seen, r"\nstep 2/3  loss \d\.\d{4}  val \d\.\d{4}  [\d,]+ tokens/s  ETA [\d.]+ s\r\x1b\[K")
        self.assertRegex(seen, r"step 0: evaluating, 0 %\r\x1b\[K.*step 0: evaluating, \d\d %\r\x1b\[K")
        self.assertNotIn("%\r\n", seen)
        self.assertTrue(seen.splitlines()[-1].endswith(" s"), seen)  # the summary, below what is left of the live line
        self.assertIn("(best)\r\n", seen)

    def test_a_sweep_shows_a_table_of_what_runs(self):
        trial, file = self.folder / "trial", self.folder / "two.json"
        trial.write_text("#!/bin/sh\necho '{\"step\": 3, \"val/loss\": 1.5}' > $4/metrics.jsonl\nsleep 1\n")
        trial.chmod(0o755)
        file.write_text(json.dumps({"space": {"seed": {"int": [1, 2]}}, "budget": {"steps": 7, "workers": 2}}))
        code, seen = at_terminal("sweep", "run", file, "--data", self.text, "--out", self.folder / "sweep",
                                      env={"MAKEMOE_TEST_TRIAL_COMMAND": str(trial)})
        self.assertEqual(code, 0, seen)
        self.assertRegex(seen, r"\x1b\[3A\x1b\[Jtwo  0/2 trials  2 running  [^\r\n]* s\r\n"
                               r"trial  step  val/loss  seed\r\n    0   3/7    1\.5000     \d\r\n    1   3/7    1\.5000     \d")
        self.assertNotIn("running", seen.splitlines()[-1])

    def test_errors_are_red_unless_no_color_is_set(self):
        for env, begin in (({"NO_COLOR": ""}, "\x1b[31merror: \x1b[0m"), ({"NO_COLOR": "1"}, "error: ")):
            code, seen = at_terminal("generate", self.run_folder, "--prompt", "☃", env=env)
            self.assertEqual(code, DATA)
            self.assertTrue(seen.startswith(begin), seen)

    def test_ctrl_c_saves_and_says_how_to_go_on(self):
        run = self.folder / "run"
        code, seen = at_terminal("train", *self.small, *ENDLESS, "--out", run, press=CTRL_C, after=b"step 2/")
        self.assertEqual(code, 130, seen)
        self.assertIn(f"resume it with: {BINARY} train --resume --out {run}\r\n", seen)
        self.done("train", "--resume", "--out", run, "--stop-after", 1)

    def test_ctrl_c_ends_a_sample_on_a_line_of_its_own(self):
        code, seen = at_terminal("generate", self.run_folder, "--max-new-tokens", 100_000_000, "--seed", 1, "--prompt", "the",
                                      press=CTRL_C, after=b"the")
        self.assertEqual(code, 130, seen)
        self.assertTrue(seen.endswith("\r\n"), seen[-200:])

    def test_ctrl_c_while_a_prompt_is_awaited_ends(self):
        code, seen = at_terminal("generate", self.run_folder, "--prompt-file", "-", press=CTRL_C)
        self.assertEqual(code, 130, seen)


if __name__ == "__main__":
    unittest.main()
