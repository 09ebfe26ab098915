"""Sweeps in trouble: what is not a trial's doing uses none up, and what people read of it."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import unittest

import optuna_support
import venvs
from support import DATA, NUMERICS, RESOURCES, SOURCE, USAGE, main, makemoe, start, strict_json, wait_for
from sweep_support import SweepCase

BACK = "then the same command continues"


def failing(code, says="error: x: full; free some"):
    return f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n"


class OutsideTrouble(SweepCase):
    def test_a_text_that_is_away_stops_the_sweep_and_uses_up_no_trial(self):
        file, out, text = self.small_sweep(), self.folder / "sweep", self.folder / "text.txt"
        shutil.copy(self.text, text)
        # The first trial takes the text away; all is the real program's otherwise.
        program = self.quick_program(f"#!/bin/sh\n\"$REAL\" \"$@\" || exit $?\n[ -e moved ] || mv {text} away\ntouch moved\n")
        options = {"env": {**program, "REAL": os.environ["MAKEMOE_BIN"]}, "cwd": self.folder}
        command = ("sweep", "run", file, "--data", text, "--out", out)
        self.assert_refused(makemoe(*command, **options), DATA, (text, BACK))
        status = self.status(out)
        self.assertEqual((status["complete"], status["failed"], status["waiting"]), (1, 0, 1))
        self.assert_refused(makemoe("sweep", "worker", out, **options), DATA, (text, "by this path", "on every machine", BACK))
        text.write_text("another text")
        self.assert_refused(makemoe("sweep", "worker", out, **options), DATA, ("sha256", BACK))
        self.assert_refused(makemoe(*command, **options), DATA, ("sha256", "--allow-changes"))
        os.replace(self.folder / "away", text)
        self.done(*command, **options)
        status = self.status(out)
        self.assertEqual((status["complete"], [t["attempt"] for t in status["trials"]]), (4, [1] * 4))

    def test_a_trial_without_space_or_device_is_given_back_with_exit_code_6(self):
        file, out = self.small_sweep(), self.folder / "sweep"
        for command in (("run", file, "--out", out), ("worker", out)):
            self.assert_refused(makemoe("sweep", *command, env=self.quick_program(failing(6))), RESOURCES, ("x: full", BACK))
        self.assertEqual([trial["state"] for trial in self.status(out)["trials"]], ["waiting"])
        self.assertRegex(self.done("sweep", "status", out).out, r"1 waiting\n(.*\n)*.* waiting ")

    def test_a_killed_trial_is_taken_up_again(self):
        out = self.folder / "sweep"
        program = self.quick_program("#!/bin/sh\n[ -e $4/once ] || { touch $4/once; kill -9 $$; }\n"
                                     "echo '{\"step\": 1, \"val/loss\": 1}' > $4/metrics.jsonl\n")
        self.done("sweep", "run", self.small_sweep(), "--out", out, env=program)
        self.assertEqual([(t["state"], t["attempt"]) for t in self.status(out)["trials"]], [("complete", 2)] * 4)

    def test_equal_failures_in_a_row_stop_the_sweep_and_are_repeated_when_asked(self):
        space = {"seed": {"int": [1, 9]}}
        file, out = self.small_sweep(space=space), self.folder / "sweep"
        command = ("sweep", "run", file, "--out", out)
        self.assert_refused(makemoe(*command, env=self.quick_program(failing(4))), 4,
                            ("budget.max_consecutive_failures", "--retry-failed"))
        self.assertEqual(self.status(out)["failed"], 5)
        self.done(*command, "--retry-failed", env=self.quick_program())
        status = self.status(out)
        self.assertEqual((status["total"], status["complete"], status["failed"]), (9, 9, 0))
        self.assertEqual([trial["repeats"] for trial in status["trials"]], [None] * 5 + [0, 1, 2, 3, 4] + [None] * 4)
        self.assertNotIn("failed:", self.done("sweep", "status", out).out)
        theirs = optuna_support.read_study(out / "journal.log", "small")
        self.assertEqual([trial["state"] for trial in theirs["trials"]], ["FAIL"] * 5 + ["COMPLETE"] * 9)
        self.assertEqual(theirs["trials"][5]["params"], {"seed": 1})

    def test_a_sweep_whose_trials_all_failed_ends_with_their_code(self):
        for code, expected in ((5, NUMERICS), (1, RESOURCES)):
            out = self.folder / str(code)
            result = makemoe("sweep", "run", self.small_sweep(), "--out", out, env=self.quick_program(failing(code)))
            self.assert_refused(result, expected, "no trial has completed")


class Starts(SweepCase):
    def test_many_starts_of_one_sweep_at_once_join(self):
        file, out = self.small_sweep(), self.folder / "sweep"
        env = self.quick_program()
        workers = [start("sweep", "run", file, "--out", out, env=env) for _ in range(8)]
        ends = [(worker.communicate()[1], worker.returncode) for worker in workers]
        self.assertEqual([code for _, code in ends], [0] * 8, ends)
        status = self.status(out)
        self.assertEqual((status["complete"], len(status["trials"])), (4, 4))

    def test_a_text_that_can_be_read_only_once_is_refused_before_anything_is_made(self):
        fifo, out = self.folder / "fifo", self.folder / "sweep"
        os.mkfifo(fifo)
        odd = os.fsencode(self.folder) + b"/caf\xe9.txt"
        shutil.copy(self.text, odd)
        self.refuse_all(DATA, {
            "a fifo": (("sweep", "run", self.small_sweep(), "--data", fifo, "--out", out), "no regular file"),
            "a path of no UTF-8": (("sweep", "run", self.small_sweep(), "--data", odd, "--out", out), "not UTF-8"),
        })
        choices = {"data.path": {"choices": [str(self.text), "absent.txt"]}}
        self.assert_refused(makemoe("sweep", "run", self.small_sweep(space=choices), "--out", out), DATA, "absent.txt")
        self.assertFalse(out.exists())

    def test_a_metric_that_trials_do_not_write_is_refused_with_the_nearest(self):
        out = self.folder / "sweep"
        for metric, says in (("val/los", 'did you mean "val/loss"?'), ("moe/layer0/load", "moe/layer0/max_load"),
                             ("moe/layer7/load_cv", "layers 0 to 0")):
            file = self.small_sweep(objective={"metric": metric})
            self.assert_refused(makemoe("sweep", "run", file, "--out", out), USAGE, ("objective.metric", says))
        self.assertFalse(out.exists())

    def test_every_number_that_training_writes_can_be_the_objective(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run, "--set", "model.moe.capacity_factor=1").code, 0)
        rows = [strict_json(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        names = {name for row in rows for name, value in row.items() if not isinstance(value, list)}
        unknown = self.small_sweep(objective={"metric": "?"})
        known = makemoe("sweep", "run", unknown, "--out", self.folder / "sweep").err
        for name in names:
            self.assertIn(re.sub(r"layer\d+", "layerL", name), known)


class Journals(SweepCase):
    def setUp(self):
        super().setUp()
        self.out = self.folder / "sweep"
        self.file = self.small_sweep()
        self.done("sweep", "run", self.file, "--out", self.out, env=self.quick_program())
        self.journal = self.out / "journal.log"

    def test_a_bad_entry_is_passed_over_with_a_warning_and_the_rest_is_shown(self):
        lines = self.journal.read_text().splitlines(keepends=True)
        at = next(i for i, line in enumerate(lines) if '"op_code":7' in line)
        lines[at] = lines[at][:20] + "\n"
        self.journal.write_text("".join(lines) + '{"op_code":77,"worker_id":"new"}\n')
        for command in (("status",), ("best",), ("export",), ("report",), ("status", "--json")):
            result = self.done("sweep", *command, self.out)
            self.assertEqual(result.err.count("2 entries are passed over"), 1, result)
            self.assertIn(f"first entry {at + 1}", result.err)
        self.assertEqual(self.status(self.out)["complete"], 4)
        for command in (("worker", self.out), ("run", self.file, "--out", self.out)):
            self.assert_refused(makemoe("sweep", *command), RESOURCES, (f"entry {at + 1}", "copy"))

    def test_an_operation_of_a_newer_optuna_keeps_nobody_from_working(self):
        with self.journal.open("a") as file:
            file.write('{"op_code":77,"worker_id":"new"}\n')
        self.assertIn("1 entry is passed over", self.done("sweep", "worker", self.out).err)

    def test_a_stale_lock_says_who_is_waited_for_and_a_signal_ends_the_wait(self):
        os.symlink(self.journal, f"{self.journal}.lock")  # as Optuna makes it
        worker = start("sweep", "worker", self.out)
        said = []
        reader = threading.Thread(target=lambda: said.append(worker.stderr.readline()))
        reader.start()
        reader.join(60)
        self.assertIn(b"waiting for the lock, which Optuna has", said[0])
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=20)  # the lock is taken over after 30 s
        self.assertEqual(worker.returncode, 143)

    def test_the_path_of_a_trial_that_is_gone_is_not_printed(self):
        path = self.done("sweep", "best", self.out, "--path").out.strip()
        shutil.rmtree(os.path.dirname(path))
        self.assert_refused(makemoe("sweep", "best", self.out, "--path"), RESOURCES, path)


class Reading(SweepCase):
    def test_people_read_short_names_and_four_digits_in_columns_of_80(self):
        space = {"optim.learning_rate": {"float": [1e-4, 1e-1], "log": True}, "model.moe.num_experts": {"choices": [4, 16]},
                 "optim.schedule.kind": {"choices": ["constant", "cosine"]}, "optim.weight_decay": {"float": [0, 0.3]},
                 "optim.eps": {"float": [1e-9, 1e-6], "log": True}, "model.moe.top_k": {"int": [2, 4]},
                 "model.moe.capacity_factor": {"choices": [None, 1.25]}}
        out = self.folder / "sweep"
        file = self.small_sweep(space=space, strategy={"kind": "random"}, budget={"trials": 12, "steps": 4})
        program = self.quick_program("#!/bin/sh\necho \"{\\\"step\\\": 4, \\\"val/loss\\\": 2.${4##*/}}\" > $4/metrics.jsonl\n")
        run = self.done("sweep", "run", file, "--out", out, env=program)
        self.assertRegex(run.err, r"trial 0:  learning_rate=\d\.\d{4,7} ")
        status = self.done("sweep", "status", out).out
        table = [line.split() for line in status.splitlines()]
        self.assertIn(["rank", "trial", "val/loss", "learning_rate", "num_experts", "kind", "weight_decay"], table)
        self.assertEqual(sum(row[:1] == ["10"] for row in table), 2)  # ten rows, in two blocks
        best = self.done("sweep", "best", out).out
        for line in (status + best).splitlines():
            self.assertLessEqual(len(line), 80, line)
        self.assertNotRegex(status + best + run.err, r"\d\.\d{8,}")
        exact = self.status(out)["best"]["values"]["optim.learning_rate"]
        self.assertIn(f"learning_rate={exact:.4g}", best)
        self.assertGreater(len(json.dumps(exact)), 10)

    def test_status_shows_what_runs_with_its_step_and_newest_value(self):
        out = self.folder / "sweep"
        program = self.quick_program("#!/bin/sh\necho '{\"step\": 3, \"val/loss\": 1.5}' > $4/metrics.jsonl\n"
                                     "trap 'exit 143' TERM\nwhile :; do sleep 0.1; done\n")
        process = start("sweep", "run", self.small_sweep(), "--out", out, env=program)
        journal = out / "journal.log"
        wait_for(lambda: journal.exists() and '"op_code":7' in journal.read_text(), process)
        status = self.done("sweep", "status", out).out
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        self.assertRegex(status, r"trial +now +step +val/loss +learning_rate +top_k\n +0 +runs +3/4 +1\.5000 +0\.001 +2\n")

    def test_every_flag_says_its_default(self):
        for command in ("run", "worker", "status", "best", "export", "report"):
            text = self.done("sweep", command, "--help").out
            options = re.split(r"\n  (?=-)", text.partition("Keys of a sweep file")[0])[1:]
            self.assertGreater(len(options), 0)
            for option in options:
                if not option.startswith("-h,--help"):
                    self.assertIn("default:", option, command)


if __name__ == "__main__":
    main(at_least=0)
