"""Sweeps of the real binary: end to end, resumed, killed, and read by Optuna."""

import csv
import io
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
import unittest

import optuna_support
import venvs
from support import BINARY, DATA, NUMERICS, RESOURCES, SOURCE, TEXT, USAGE, makemoe, start, strict_json, wait_for
from sweep_support import SweepCase

SWEEPS = SOURCE / "configs" / "sweep"
STRESS_WORKERS = 16
STRESS_SECONDS = float(os.environ.get("MAKEMOE_STRESS_SECONDS", "60"))

# A network namespace of its own, where this machine lets us make one: nothing but the folder is shared.
NO_NETWORK = next((command for command in (["unshare", "--net"], ["unshare", "--user", "--net"])
                   if shutil.which("unshare") and subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0),
                  [])


class WholeSweeps(SweepCase):
    def test_a_grid_runs_whole_and_its_best_config_trains(self):
        out = self.folder / "sweep"
        done = self.done("sweep", "run", self.small_sweep(), "-j", 2, "--out", out)
        self.assertIn("best: trial", done.out)
        status = self.status(out)
        self.assertEqual(list(status), ["sweep", "name", "metric", "direction", "total", "complete", "pruned", "failed",
                                        "running", "waiting", "best", "trials"])
        self.assertEqual((status["total"], status["complete"]), (4, 4))
        for trial in status["trials"]:
            rows = [strict_json(line) for line in (pathlib.Path(trial["run"]) / "metrics.jsonl").read_text().splitlines()]
            losses = [row["val/loss"] for row in rows if "val/loss" in row]
            self.assertEqual(trial["value"], min(losses))
            self.assertEqual([value for _, value in trial["reported"]], losses)
            self.assertEqual(strict_json((pathlib.Path(trial["run"]) / "run.json").read_text())["status"], "finished")
        self.assertEqual(status["best"]["value"], min(trial["value"] for trial in status["trials"]))
        path = self.done("sweep", "best", out, "--path").out.strip()
        again = self.done("train", "--config", path, "--out", self.folder / "again", "--json")
        self.assertEqual(strict_json(again.out)["val_loss"], status["best"]["value"])

    def test_a_finished_sweep_is_left_as_it_is_and_exits_with_0(self):
        out, file = self.folder / "sweep", self.small_sweep()
        self.done("sweep", "run", file, "--out", out)
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        self.done("sweep", "run", file, "--out", out)
        self.assertIn("no trial is left to take", self.done("sweep", "worker", out).err)
        self.assertEqual({path: path.read_bytes() for path in out.rglob("*") if path.is_file()}, before)

    def test_the_shipped_quick_sweep_runs_from_anywhere(self):
        out = self.folder / "quick"
        self.done("sweep", "run", SWEEPS / "quick.json", "--out", out, cwd=self.folder)
        status = self.status(out)
        self.assertEqual(status["complete"] + status["pruned"], status["total"])
        self.assertGreater(status["total"], 0)

    def test_every_shipped_sweep_proposes_sound_configs_alone(self):
        program = self.quick_program("#!/bin/sh\necho '{\"step\": 1, \"val/loss\": 1}' > $4/metrics.jsonl\n")
        for path in SWEEPS.glob("*.json"):
            with self.subTest(path.name):
                out = self.folder / path.stem
                self.done("sweep", "run", path, "--data", TEXT, "--out", out, "-j", 8, env=program)
                status = self.status(out)
                self.assertEqual((status["complete"], status["failed"]), (status["total"], 0))

    def test_the_first_example_of_the_document_runs_without_a_failure(self):
        example = (SOURCE / "docs" / "sweeps.md").read_text().partition("```json\n")[2].partition("```")[0]
        (self.folder / "sweep").mkdir()
        shutil.copy(SOURCE / "configs" / "small.json", self.folder)
        program = self.quick_program("#!/bin/sh\necho '{\"step\": 1, \"val/loss\": 1}' > $4/metrics.jsonl\n")
        out = self.folder / "out"
        self.done("sweep", "run", self.write("sweep/example.json", example), "--data", TEXT, "--out", out, "-j", 8, env=program)
        status = self.status(out)
        self.assertEqual((status["complete"], status["failed"]), (40, 0))

    def test_proposals_repeat_at_one_worker_and_random_ones_at_any(self):
        values = []
        space = {"optim.learning_rate": {"float": [1e-4, 1e-2], "log": True}, "model.moe.num_experts": {"choices": [3, 4]}}
        for strategy, jobs in (("tpe", 1), ("tpe", 1), ("random", 1), ("random", 3)):
            file = self.small_sweep(space=space, strategy={"kind": strategy, "startup_points": 2},
                                    budget={"trials": 6, "steps": 2})
            out = self.folder / f"{len(values)}"
            self.done("sweep", "run", file, "--out", out, "-j", jobs)
            values.append([trial["values"] for trial in self.status(out)["trials"]])
        self.assertEqual(values[0], values[1])
        self.assertEqual(values[2], values[3])
        self.assertNotEqual(values[0], values[2])

    def test_exports_every_trial(self):
        out = self.folder / "sweep"
        self.done("sweep", "run", self.small_sweep(), "--out", out, env=self.quick_program())
        rows = list(csv.DictReader(io.StringIO(self.done("sweep", "export", out).out)))
        self.assertEqual([row["model.moe.top_k"] for row in rows], ["2", "3", "2", "3"])
        self.assertIn("wrote ", self.done("sweep", "export", out, "--json", "--out", self.folder / "all.json").err)
        self.assertEqual(len(strict_json((self.folder / "all.json").read_text())["trials"]), 4)


class Failures(SweepCase):
    def test_a_trial_that_can_not_be_is_recorded_and_the_rest_goes_on(self):
        space = {"model.moe.top_k": {"choices": [2, 3]}, "model.moe.num_experts": {"choices": [2, 4]}}
        out = self.folder / "sweep"
        self.done("sweep", "run", self.small_sweep(space=space), "--out", out)
        status = self.status(out)
        self.assertEqual((status["complete"], status["failed"]), (3, 1))
        self.assertIn("top_k", next(trial["reason"] for trial in status["trials"] if trial["reason"]))

    def test_trials_without_memory_or_without_finite_numbers_are_recorded_with_their_reason(self):
        sets = {"data.path": str(self.text), "threads": 1, "train.batch_size": 2,
                "model.moe.num_experts": 2, "train.eval_interval": 2, "model.block_size": 4}
        huge = self.small_sweep(space={"model.n_embed": {"choices": [16384]}}, set={**sets, "model.n_layer": 512})
        out = self.folder / "memory"
        result = makemoe("sweep", "run", huge, "--out", out)
        self.assertEqual(result.code, RESOURCES, result)
        self.assertIn("lower model.n_embed", self.status(out)["trials"][0]["reason"])
        file = self.small_sweep(space={"optim.learning_rate": {"choices": [1e30]}}, budget={"steps": 20},
                                set={**sets, "model.n_layer": 1, "train.eval_interval": 20})
        result = makemoe("sweep", "run", file, "--out", self.folder / "numbers", "--fail-fast")
        self.assertEqual(result.code, NUMERICS, result)
        self.assertIn("not finite", self.status(self.folder / "numbers")["trials"][0]["reason"])

    def test_mistakes_are_refused_before_anything_is_made(self):
        bad = self.write("bad.json", {"space": {"model.n_layers": {"int": [1, 2]}}, "budgt": {}, "strategy": {"kind": "bayes"}})
        self.refuse_all(USAGE, {
            "everything at once": (("sweep", "run", bad, "--data", self.text, "--out", self.folder / "x"),
                                   ("n_layer", "budget", "tpe")),
            "no file": (("sweep", "run", self.folder / "absent.json"), "absent.json"),
            "a typo": (("sweep", "rnu", bad), "did you mean"),
            "no jobs": (("sweep", "run", bad, "-j", 0), "out of range"),
            "no sweep": (("sweep", "status", self.folder), "is no sweep"),
            "no time": (("sweep", "worker", self.folder, "--time-budget", "soon"), "is no time"),
        })
        good = self.small_sweep(set={"data.path": "absent.txt"})
        self.assert_refused(makemoe("sweep", "run", good, "--out", self.folder / "x"), DATA, "--data")
        self.assertFalse((self.folder / "x").exists())

    def test_a_changed_file_is_refused_with_the_difference_unless_asked(self):
        out = self.folder / "sweep"
        self.done("sweep", "run", self.small_sweep(), "--out", out, env=self.quick_program())
        changed = self.small_sweep(space={"optim.learning_rate": {"choices": [0.001, 0.01]}, "model.moe.top_k": {"int": [2, 4]}})
        self.assert_refused(makemoe("sweep", "run", changed, "--out", out), USAGE, ("/space/model.moe.top_k/int/1: 3 in the sweep, 4 now",))
        self.done("sweep", "run", changed, "--out", out, "--allow-changes", env=self.quick_program())
        self.assertGreater(self.status(out)["complete"], 4)


    def test_a_failed_point_that_the_space_lost_is_not_repeated_as_another(self):
        out, fails = self.folder / "sweep", self.quick_program("#!/bin/sh\nexit 1\n")
        self.assertNotEqual(makemoe("sweep", "run", self.small_sweep(), "--out", out, env=fails).code, 0)
        narrow = self.small_sweep(space={"optim.learning_rate": {"choices": [0.001, 0.01]}, "model.moe.top_k": {"int": [2, 2]}})
        result = self.done("sweep", "run", narrow, "--out", out, "--retry-failed", "--allow-changes", env=self.quick_program())
        self.assertIn("2 failed trials are not repeated, since the space does not have the same point: trial 1: "
                      "model.moe.top_k: 3 is not in the space, which has 2 to 2", result.err)
        self.assertEqual([trial["repeats"] for trial in self.status(out)["trials"][4:]], [0, 2])


class Stops(SweepCase):
    def test_a_signal_saves_gives_back_and_the_same_command_goes_on(self):
        file, out = self.small_sweep(budget={"steps": 400}), self.folder / "sweep"
        process = start("sweep", "run", file, "--out", out)
        metrics = out / "trials" / "00000" / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") > 20, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        self.assertEqual(strict_json((out / "trials" / "00000" / "run.json").read_text())["status"], "interrupted")
        self.done("sweep", "run", file, "--out", out, "--allow-changes")
        status = self.status(out)
        self.assertEqual(status["complete"], 4)
        self.assertEqual(status["trials"][0]["attempt"], 1)
        steps = [strict_json(line)["step"] for line in metrics.read_text().splitlines()]
        self.assertEqual(steps, sorted(steps))

    def test_a_killed_workers_trial_goes_on_from_its_checkpoint(self):
        file, out = self.small_sweep(budget={"steps": 400}), self.folder / "sweep"
        process = start("sweep", "run", file, "--out", out)
        checkpoints = out / "trials" / "00000" / "checkpoints"
        wait_for(lambda: checkpoints.exists() and any(p.name >= "step-00000050" for p in checkpoints.glob("step-*")), process)
        process.kill()
        process.communicate()
        self.done("sweep", "worker", out, "--count", 1)
        trial = self.status(out)["trials"][0]
        self.assertEqual((trial["state"], trial["attempt"]), ("complete", 2))
        rows = [strict_json(line) for line in (out / "trials" / "00000" / "metrics.jsonl").read_text().splitlines()]
        steps = [row["step"] for row in rows if "train/step_loss" in row]
        self.assertEqual(steps, list(range(1, 401)))

    def test_a_worker_ends_after_its_count_and_after_its_time(self):
        out = self.folder / "sweep"
        never = "#!/bin/sh\ntrap 'exit 143' TERM\nwhile :; do sleep 0.1; done\n"
        env = self.quick_program(never)
        result = makemoe("sweep", "run", self.small_sweep(budget={"steps": 4, "seconds": 0.5}), "--out", out, env=env)
        self.assertEqual(result.code, 0, result)
        said = self.done("sweep", "worker", out, "--time-budget", "0.5s", env=env).err
        self.assertIn("the time is over (--time-budget); the same command continues", said)
        self.assertEqual(self.status(out)["complete"], 0)
        said = self.done("sweep", "worker", out, "--count", 2, env=self.quick_program()).err
        self.assertIn("took 2 trials (--count); the same command continues", said)
        self.assertEqual(self.status(out)["complete"], 2)
        self.assertEqual(makemoe("sweep", "worker", out, "--time-budget", "soon").code, USAGE)
        worker = start("sweep", "worker", out, env=self.quick_program(never))  # written anew: there is one program
        wait_for(lambda: self.status(out)["running"] == 1, worker)
        worker.send_signal(signal.SIGTERM)
        said = worker.communicate(timeout=60)[1].decode()
        self.assertEqual(worker.returncode, 128 + signal.SIGTERM)
        self.assertIn("stopped by SIGTERM; the same command continues", said)
        self.done("sweep", "worker", out, env=self.quick_program())
        said = self.done("sweep", "worker", out, "--count", 2, env=self.quick_program()).err
        self.assertIn(f"no trial is left to take; {BINARY} sweep status {out} shows them", said)


class Optuna(SweepCase):
    def test_reads_a_sweep_as_we_do(self):
        space = {"optim.learning_rate": {"float": [1e-4, 1e-2], "log": True}, "model.moe.top_k": {"int": [2, 5]},
                 "optim.betas": {"choices": [[0.9, 0.99], [0.9, 0.999]]}, "model.moe.capacity_factor": {"choices": [None, 1.5]},
                 "optim.schedule.kind": {"choices": ["constant", "cosine"]},
                 "optim.schedule.warmup_iters": {"int": [0, 4], "step": 2, "when": {"optim.schedule.kind": "cosine"}}}
        out = self.folder / "sweep"
        file = self.small_sweep(space=space, strategy={"kind": "tpe", "startup_points": 4}, budget={"trials": 8, "steps": 4},
                                pruner={"kind": "median", "startup_trials": 2})
        self.done("sweep", "run", file, "--out", out, "-j", 2)
        ours, theirs = self.status(out), optuna_support.read_study(out / "journal.log", "small")
        self.assertEqual(theirs["direction"], "MINIMIZE")
        self.assertEqual(len(theirs["trials"]), 8)
        names = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
        for our, their in zip(ours["trials"], theirs["trials"]):
            self.assertEqual(names[our["state"]], their["state"])
            self.assertEqual(our["value"], their["value"])
            self.assertEqual(our["reported"], their["reported"])
            self.assertTrue(their["complete"])
            betas = our["values"]["optim.betas"]
            self.assertEqual(their["params"], {**our["values"], "optim.betas": json.dumps(betas, separators=(",", ":"))})

    def test_adds_trials_of_its_own_that_count_and_that_run(self):
        out = self.folder / "sweep"
        self.done("sweep", "run", self.small_sweep(), "--out", out, env=self.quick_program())
        code = """
import sys, optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.distributions import CategoricalDistribution, IntDistribution
study = optuna.load_study(study_name="small", storage=JournalStorage(JournalFileBackend(sys.argv[1])))
study.enqueue_trial({"optim.learning_rate": 0.01, "model.moe.top_k": 3})
study.add_trial(optuna.trial.create_trial(params={"optim.learning_rate": 0.01, "model.moe.top_k": 2},
    distributions={"optim.learning_rate": CategoricalDistribution([0.001, 0.01]), "model.moe.top_k": IntDistribution(2, 3)},
    value=99.0))
"""
        subprocess.run([venvs.python_with("optuna"), "-c", code, out / "journal.log"], check=True, timeout=120)
        self.done("sweep", "worker", out)
        status = self.status(out)
        self.assertEqual((status["total"], status["complete"]), (6, 6))
        self.assertEqual(status["trials"][4]["values"], {"optim.learning_rate": 0.01, "model.moe.top_k": 3})
        self.assertTrue((out / "trials" / "00004" / "metrics.jsonl").exists())
        theirs = optuna_support.read_study(out / "journal.log", "small")
        self.assertEqual([trial["state"] for trial in theirs["trials"]], ["COMPLETE"] * 6)


    def test_a_trial_enqueued_outside_the_space_fails_with_its_key_and_value(self):
        out = self.folder / "sweep"
        self.done("sweep", "run", self.small_sweep(), "--out", out, env=self.quick_program())
        code = """
import sys, optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
study = optuna.load_study(study_name="small", storage=JournalStorage(JournalFileBackend(sys.argv[1])))
study.enqueue_trial({"model.moe.top_k": 7})
study.enqueue_trial({"top_k": 2})
study.enqueue_trial({"model.moe.top_k": "2"})
study.enqueue_trial({"model.moe.top_k": 3})
"""
        subprocess.run([venvs.python_with("optuna"), "-c", code, out / "journal.log"], check=True, timeout=120)
        worked = self.done("sweep", "worker", out, env=self.quick_program())
        reasons = ["model.moe.top_k: 7 is not in the space, which has 2 to 3",
                   "top_k: 2 cannot be used: the space has no such key",
                   'model.moe.top_k: "2" is not in the space, which has 2 to 3']
        trials = self.status(out)["trials"][4:]
        self.assertEqual([trial["state"] for trial in trials], ["failed"] * 3 + ["complete"])
        self.assertEqual([trial["reason"] for trial in trials], [*reasons, None])
        for reason in reasons:
            self.assertIn(f"failed: {reason}", worked.err)
        self.assertEqual(trials[3]["values"]["model.moe.top_k"], 3)
        self.assertIn("optim.learning_rate", trials[3]["values"], "what it leaves out is drawn")
        theirs = optuna_support.read_study(out / "journal.log", "small")["trials"]
        self.assertEqual([trial["state"] for trial in theirs[4:]], ["FAIL"] * 3 + ["COMPLETE"])


class Stress(SweepCase):
    def stress_file(self, trials):
        return self.small_sweep(strategy={"kind": "random"}, budget={"trials": trials, "steps": 4, "attempts": 1000},
                                space={"optim.learning_rate": {"float": [1e-4, 1e-2]}})

    def test_workers_killed_at_random_lose_and_double_nothing(self):
        """16 workers over one journal, half of them in networks of their own, one of them killed -9 at random times; at
        the end the rest is run in peace."""
        python, draw = venvs.python_with("optuna"), random.Random(5)
        out, env = self.folder / "sweep", self.quick_program()
        journal = out / "journal.log"
        workers = [start("sweep", "run", self.stress_file(100000), "--out", out, env=env, stderr=subprocess.DEVNULL)]
        wait_for(lambda: journal.exists() and journal.stat().st_size > 0, workers[0])
        optuna = subprocess.Popen([python, "-c", optuna_support.SERVE, journal, "small"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(optuna.communicate)
        end, kills, ended = time.monotonic() + STRESS_SECONDS, 0, 0
        while time.monotonic() < end:
            while len(workers) < STRESS_WORKERS:
                within = NO_NETWORK if len(workers) % 2 else []
                workers.append(start("sweep", "worker", out, env=env, stderr=subprocess.DEVNULL, cwd=self.home, within=within))
            time.sleep(draw.uniform(0, 0.5))
            victim = workers.pop(draw.randrange(len(workers)))
            victim.kill()
            victim.wait()
            kills += 1
            print("read", file=optuna.stdin, flush=True)
            answer = optuna.stdout.readline().split()
            self.assertEqual(len(answer), 2, "Optuna cannot open the journal")
            self.assertGreaterEqual(int(answer[1]), ended)
            ended = int(answer[1])
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait(60)
        self.assertGreater(kills, 10)
        created = sum(strict_json(line)["op_code"] == 4 for line in journal.read_text().splitlines())
        self.done("sweep", "run", self.stress_file(created), "--out", out, "--allow-changes", env=env)
        self.check_each_once(journal, out, created)
        print(f"{kills} workers killed, {created} trials, {ended} of them ended before the last kill", flush=True)

    def check_each_once(self, journal, out, created):
        ends, proposals = [], []
        for line in journal.read_text().splitlines():
            entry = strict_json(line)
            if entry["op_code"] == 4:
                proposals.append(entry["system_attrs"]["moe:proposal"])
            if entry["op_code"] == 6 and entry["state"] in (1, 2, 3):
                ends.append(entry["trial_id"])
        self.assertEqual(sorted(proposals), list(range(created)))
        self.assertEqual(sorted(ends), list(range(created)))
        self.assertEqual(self.status(out)["complete"], created)


if __name__ == "__main__":
    venvs.main()
