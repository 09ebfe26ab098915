"""TensorBoard's own reader sees what metrics.jsonl holds, the config as hparams, and lists as histograms."""

import ctypes
import json
import pathlib
import subprocess

import venvs
from support import RESOURCES, STEPS, RunCase, start, wait_for
from tracked import ENDLESS, hyperparameters, measured, rows_of, started

TENSORBOARD = ("--set", "tracking.tensorboard=true")


class TensorBoard(RunCase):
    @classmethod
    def setUpClass(cls):
        cls.python = venvs.python_with("tensorboard")
        super().setUpClass()

    def read(self, *runs):
        """What TensorBoard shows of each."""
        reader = pathlib.Path(__file__).with_name("read_tensorboard.py")
        done = subprocess.run([self.python, reader, *runs], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("corrupt", done.stderr.lower())
        return json.loads(done.stdout)

    def assert_shows(self, seen, run):
        """Every number of metrics.jsonl, in its order, as a float of 32 bits; nothing else."""
        expected, lists = {}, {}
        for row in rows_of(run):
            for tag, value in measured(row).items():
                if isinstance(value, list):
                    lists.setdefault(tag, []).append([row["step"], [i + 0.5 for i in range(len(value))], value])
                else:
                    point = [row["step"], started(run) + row["time_s"], ctypes.c_float(value).value]
                    expected.setdefault(tag, []).append(point)
        self.assertEqual(seen["scalars"], expected)
        self.assertEqual(seen["histograms"], lists)

    def test_it_shows_what_metrics_jsonl_holds_and_compares_the_config_as_hparams(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run, *TENSORBOARD).code, 0)
        [seen] = self.read(run)
        self.assertGreaterEqual(len(seen["scalars"]["val/loss"]), STEPS + 1)
        self.assert_shows(seen, run)
        given = {key: json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value
                 for key, value in hyperparameters(run).items() if value is not None}
        self.assertEqual(sorted(seen["compared"]), sorted(given))
        self.assertEqual(seen["metrics"], ["val/loss", "train/loss"])
        [session] = seen["sessions"]
        self.assertEqual(session["hparams"], given)
        self.assertEqual(session["status"], ["STATUS_SUCCESS"])
        last = rows_of(run)[-1]
        for tag, value in session["metrics"].items():
            self.assertEqual(value, [last["step"], ctypes.c_float(last[tag]).value])
        self.assert_same_end(run, self.run_folder)

    def test_a_resumed_run_is_one_curve_and_a_list_is_a_histogram_over_its_index(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run, *TENSORBOARD, "--stop-after", "1").code, 0)
        with open(run / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"step":2,"time_s":0.6,"tokens":9,"val/loss":9}\n')  # what the resume cuts off
        self.assertEqual(self.train_small(run, *TENSORBOARD, "--resume").code, 0)
        [seen] = self.read(run)
        expected = {}
        for row in rows_of(run):
            for tag, value in measured(row).items():
                if isinstance(value, list):
                    buckets = [[i - 0.5, i + 0.5, ctypes.c_float(v).value] for i, v in enumerate(value)]
                    expected.setdefault(tag, []).append([row["step"], buckets])
        self.assertIn("moe/layer0/load", expected)
        self.assertEqual(seen["buckets"], expected)
        self.assert_shows(seen, run)
        self.assertEqual(len(list(run.glob("events.out.tfevents.*"))), 1)

    def test_a_crash_leaves_a_file_that_reads(self):
        run = self.folder / "run"
        process = start("train", *self.small, *ENDLESS, *TENSORBOARD, "--out", run)
        wait_for(lambda: (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text().count("\n") > 5, process)
        process.kill()
        process.communicate()
        [seen] = self.read(run)
        self.assertGreater(len(seen["scalars"]["train/step_loss"]), 2)
        self.assertEqual([session["status"] for session in seen["sessions"]], [["STATUS_UNKNOWN"]])

    def test_a_disk_that_fails_for_a_moment_costs_no_run_and_no_row(self):
        runs = []
        for n in range(1, 30, 3):
            with self.subTest(n):
                run = self.folder / str(n)
                result = self.train_small(run, *TENSORBOARD, env={"MAKEMOE_TEST_FAULT": f"ENOSPC@{n}"})
                self.assert_clean(result)
                if result.code == RESOURCES:  # the run's own files could not be made, as without TensorBoard
                    continue
                self.assertEqual(result.code, 0, result)
                self.assert_same_end(run, self.run_folder)
                runs.append(run)
        self.assertGreater(len(runs), 3)
        for run, seen in zip(runs, self.read(*runs)):
            self.assert_shows(seen, run)


if __name__ == "__main__":
    venvs.main()
