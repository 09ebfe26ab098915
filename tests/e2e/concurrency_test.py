"""Several processes at once under one name: each result is whole, and each process ends in one of a few ways.

MAKEMOE_STRESS_SECONDS is how long all of it goes on; 8 s without it.
"""

import json
import os
import shutil
import stat
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from support import CHECKPOINT, RESOURCES, STEPS, RunCase, main, makemoe, strict_json, temporaries

PROCESSES = 8
TESTS = 6
SECONDS = float(os.environ.get("MAKEMOE_STRESS_SECONDS", "8")) / TESTS  # of each test; one round at least
HELD = "in use by "

# Stands for `makemoe train --resume --out RUN`. $4 is RUN.
QUICK_TRIAL = """#!/bin/sh
echo '{"step": 0, "val/loss": 2.5}' >> "$4/metrics.jsonl"
echo run >> "$4/ends"
"""


def at_once(commands, **options):
    """The results of all commands, started together."""
    gate = threading.Barrier(len(commands))

    def run(command):
        gate.wait()
        return makemoe(*command, **options)
    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(run, commands))


def rounds():
    """Numbers from 0 for as long as a test goes on."""
    end, number = time.monotonic() + SECONDS, 0
    while number == 0 or time.monotonic() < end:
        yield number
        number += 1


class Outputs(RunCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = cls.home / "other"
        result = cls.train_small(cls.other, "--set", "seed=7")
        if result.code != 0:
            raise AssertionError(result)

    def write_at_once(self, command):
        """`command` of either run into one file, again and again, while a reader looks at it."""
        out, alone = self.folder / "out", self.folder / "alone"
        wanted = set()
        for run in (self.run_folder, self.other):
            self.done(command, run, "--out", alone)
            wanted.add(alone.read_bytes())
        shutil.copy(alone, out)
        seen, stop = [], threading.Event()

        def look():
            while not stop.is_set():
                seen.append(out.read_bytes() in wanted)
                time.sleep(0.002)
        reader = threading.Thread(target=look)
        reader.start()
        try:
            for _ in rounds():
                for result in at_once([(command, (self.run_folder, self.other)[i % 2], "--out", out) for i in range(PROCESSES)]):
                    self.assertEqual(result.code, 0, result)
        finally:
            stop.set()
            reader.join()
        self.assertTrue(all(seen), "a reader saw half of a file, or a mixture")
        self.assertEqual({p.name for p in self.folder.iterdir()}, {"out", "alone"})

    def test_exports_to_one_file_leave_one_of_them_whole(self):
        self.write_at_once("export")

    def test_reports_to_one_file_leave_one_of_them_whole(self):
        self.write_at_once("report")


class Runs(RunCase):
    def test_unnamed_runs_get_a_folder_each(self):
        command = ("train", *self.small, "--set", "train.max_iters=1", "--json")
        found = set()
        for number in rounds():
            results = at_once([command] * PROCESSES, cwd=self.folder)
            for result in results:
                self.assertEqual(result.code, 0, result)
                run = self.folder / strict_json(result.out)["run"]
                self.assertEqual(strict_json((run / "run.json").read_text())["status"], "finished")
                found.add(run)
            self.assertEqual(len(found), PROCESSES * (number + 1))
        self.assertEqual(found, set((self.folder / "runs").iterdir()))

    def test_one_of_many_resumes_has_the_run_and_readers_see_it_whole(self):
        run, _ = self.copy_of_run("shared")
        straight, _ = self.copy_of_run("straight")
        more = [("--set", f"train.{key}={value}") for key, value in (("log_interval", 1), ("eval_interval", 2))]
        last = STEPS
        for _ in rounds():
            last += 4
            end = [part for pair in (*more, ("--set", f"train.max_iters={last}")) for part in pair]
            resume = ("train", "--resume", "--out", run, *end)
            readers = [("report", run), ("config", "check", run / "config.json"), ("info", run), ("report", run)]
            results = at_once([resume] * (PROCESSES - len(readers)) + readers)
            for result in results:
                self.assert_clean(result)
            resumed, read = results[:-len(readers)], results[-len(readers):]
            self.assertIn(0, [result.code for result in resumed], resumed)
            for result in resumed:
                self.assertIn(result.code, (0, RESOURCES), result)
                self.assertEqual(result.code == RESOURCES, HELD in result.err, result)
            for (command, *_), result in zip(readers, read):
                # `info` may have chosen a checkpoint that the run then took away.
                self.assertIn(result.code, (0, CHECKPOINT) if command == "info" else (0,), result)
            self.done("train", "--resume", "--out", straight, *end)
            self.assert_same_bytes(run, straight, last)
            self.assertEqual(temporaries(run), [])


class Sweeps(RunCase):
    def sweep_of(self, trials):
        """(file, environment) of a sweep whose trials take no time."""
        program = self.folder / "trial.sh"
        program.write_text(QUICK_TRIAL)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        file = self.folder / "sweep.json"
        choices = [round(0.001 * (1 + i), 6) for i in range(trials)]
        file.write_text(json.dumps({"set": {"data.path": str(self.text), "threads": 1},
                                    "space": {"optim.learning_rate": {"choices": choices}}, "strategy": {"kind": "grid"}}))
        return file, {"MAKEMOE_TEST_TRIAL_COMMAND": str(program)}

    def assert_whole(self, sweep, trials):
        """Each trial was done once, and none twice."""
        status = strict_json(self.done("sweep", "status", sweep, "--json").out)
        self.assertEqual((status["total"], status["complete"]), (trials, trials))
        ends = [(sweep / "trials" / f"{i:05d}" / "ends").read_text() for i in range(trials)]
        self.assertEqual(ends, ["run\n"] * trials)
        self.assertEqual(temporaries(sweep), [])

    def test_starts_of_one_sweep_share_it(self):
        trials = 2 * PROCESSES
        file, env = self.sweep_of(trials)
        for number in rounds():
            sweep = self.folder / f"sweep-{number}"
            for result in at_once([("sweep", "run", file, "--out", sweep)] * PROCESSES, env=env):
                self.assertEqual(result.code, 0, result)
            self.assert_whole(sweep, trials)

    def test_workers_of_one_sweep_share_it(self):
        trials = 2 * PROCESSES
        file, env = self.sweep_of(trials)
        for number in rounds():
            sweep = self.folder / f"sweep-{number}"
            never = {"MAKEMOE_TEST_TRIAL_COMMAND": "/bin/false"}
            self.assertEqual(makemoe("sweep", "run", file, "--out", sweep, "--fail-fast", env=never).code, RESOURCES)
            results = at_once([("sweep", "worker", sweep)] * (PROCESSES - 1) + [("sweep", "export", sweep)], env=env)
            for result in results:
                self.assertEqual(result.code, 0, result)
            status = strict_json(self.done("sweep", "status", sweep, "--json").out)
            self.assertEqual((status["complete"], status["failed"]), (trials - 1, 1))
            ends = [path.read_text() for path in sweep.glob("trials/*/ends")]
            self.assertEqual(ends, ["run\n"] * (trials - 1))


if __name__ == "__main__":
    main(at_least=0)
