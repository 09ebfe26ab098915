"""Signals of terminals and schedulers, waits that they end, runs whose process is gone, threads that are not to be had,
and what a terminal is never sent."""

import contextlib
import json
import os
import pathlib
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time

from fake_mlflow import FakeMlflow
from support import (BINARY, RESOURCES, STEPS, RunCase, arguments_of, at_terminal, environment, limited, main, makemoe, start,
                     strict_json, wait_for, wait_for_handlers)

HUP, INT, TERM, USR1, USR2, XCPU = (getattr(signal, f"SIG{name}") for name in ("HUP", "INT", "TERM", "USR1", "USR2", "XCPU"))
ENDLESS = ("--set", "train.max_iters=100000000", "--set", "train.eval_interval=100000000", "--set", "train.log_interval=100")
NOBODY = 65534


def ignoring(*signals):
    """For preexec_fn: as nohup, and as sh of what it puts in the background."""
    def apply():
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
    return apply


class Trained(RunCase):
    def endless(self, name="run", *more, **options):
        """A run that has made more than 100 steps, and goes on."""
        run = self.folder / name
        process = start("train", *self.small, *ENDLESS, *more, "--out", run, **options)
        self.addCleanup(self.end, process)
        wait_for(lambda: self.last_step(run) >= 100, process)
        return run, process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stderr):
            if stream:
                stream.close()

    @staticmethod
    def last_step(run):
        try:
            return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        except (FileNotFoundError, IndexError, ValueError):
            return -1

    @staticmethod
    def status(run):
        return strict_json((run / "run.json").read_text())["status"]

    @staticmethod
    def steps(run):
        return sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))

    def sweep_file(self, **changes):
        path = self.folder / "sweep.json"
        path.write_text(json.dumps({
            "base": str(self.run_folder / "config.json"), "space": {"seed": {"int": [1, 2]}}, "strategy": {"kind": "grid"},
            "set": {"train.eval_interval": 1000000, "train.log_interval": 100}, "budget": {"steps": 1000000}, **changes}))
        return path

    def trial(self, script):
        """Stands for `makemoe train --resume --out RUN`; $4 is RUN."""
        path = self.folder / "trial.sh"
        path.write_text('#!/bin/sh\necho \'{"step": 1, "val/loss": 1}\' >> "$4/metrics.jsonl"\n' + script)
        path.chmod(0o755)
        return {"MAKEMOE_TEST_TRIAL_COMMAND": str(path)}

    def assert_ends(self, process, number):
        err = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 128 + number, err)
        return err.decode() if err else ""


class OfTraining(Trained):
    def test_hang_up_and_a_schedulers_warnings_save_and_stop(self):
        for number in (HUP, USR2, XCPU):
            with self.subTest(number):
                run, process = self.endless(number.name)
                process.send_signal(number)
                self.assert_ends(process, number)
                self.assertEqual(self.status(run), "interrupted")
                self.assertGreaterEqual(self.steps(run)[-1], 100)

    def test_a_terminal_that_closes_hangs_up_more_than_once_and_the_run_saves(self):
        """The shell sends SIGHUP, and the system another one when the shell has gone. A CPU limit sends one each second."""
        for number in (HUP, XCPU):
            run = self.folder / number.name
            process = start("train", *self.small, "--set", "train.grad_accumulation=10000", "--out", run)  # a long step
            self.addCleanup(self.end, process)
            wait_for(lambda: (run / "metrics.jsonl").exists(), process)
            time.sleep(0.3)  # from the row of step 0 into the step
            process.send_signal(number)
            time.sleep(0.1)
            process.send_signal(number)
            self.assert_ends(process, number)
            self.assertEqual((self.status(run), self.steps(run)), ("interrupted", [1]))

    def test_a_run_whose_terminal_closes_saves(self):
        run = self.folder / "run"
        child, screen = pty.fork()
        if child == 0:
            os.execve(BINARY, arguments_of(("train", *self.small, *ENDLESS, "--out", run)), environment(None))
        while self.last_step(run) < 100:
            os.read(screen, 1 << 16)
        os.close(screen)
        _, status = os.waitpid(child, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 128 + HUP)
        self.assertEqual(self.status(run), "interrupted")
        self.assertGreaterEqual(self.steps(run)[-1], 100)

    def test_user_signal_1_saves_and_training_continues(self):
        run, process = self.endless()
        self.assertEqual(self.steps(run), [])
        process.send_signal(USR1)
        wait_for(lambda: self.steps(run), process)
        saved = self.steps(run)[-1]
        wait_for(lambda: self.last_step(run) > saved + 100, process)
        self.assertEqual(self.status(run), "running")
        process.send_signal(TERM)
        self.assertIn("saved, as SIGUSR1 asks", self.assert_ends(process, TERM))

    def test_what_was_ignored_at_the_start_stays_ignored(self):
        run, process = self.endless(preexec_fn=ignoring(HUP, INT, USR1, USR2, XCPU))
        for number in (HUP, INT, USR1, USR2, XCPU):
            process.send_signal(number)
        seen = self.last_step(run)
        wait_for(lambda: self.last_step(run) > seen + 500, process)
        self.assertEqual(self.steps(run), [])
        process.send_signal(TERM)
        self.assert_ends(process, TERM)

    def test_a_signal_that_was_blocked_at_the_start_is_heard(self):
        _, process = self.endless(preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {TERM}))
        process.send_signal(TERM)
        self.assert_ends(process, TERM)

    def test_a_reader_of_messages_that_has_stopped_does_not_keep_a_run_from_saving(self):
        run = self.folder / "run"
        process = start("train", *self.small, *ENDLESS, "--set", "train.log_interval=1", "--out", run)
        self.addCleanup(self.end, process)
        wait_for_handlers(process)
        before = -1
        while self.last_step(run) != before or before < 100:  # until its lines have filled the pipe
            before = self.last_step(run)
            time.sleep(0.3)
        process.send_signal(TERM)
        process.wait(timeout=60)
        self.assertEqual((process.returncode, self.status(run)), (143, "interrupted"))


class Waits(Trained):
    """Each wait for something outside ends with a signal."""

    def fifo(self, name):
        path = self.folder / name
        os.mkfifo(path)
        return path

    def test_what_waits_for_a_fifo_hears_a_signal(self):
        fifo, silent = self.fifo("unopened"), self.fifo("silent")
        writer = os.open(silent, os.O_RDWR)  # someone has it open, and writes nothing
        self.addCleanup(os.close, writer)
        cases = {"data": ("train", "--config", self.run_folder / "config.json", "--out", self.folder / "a", "--data"),
                 "config": ("train", *self.small[2:], "--out", self.folder / "b", "--config"),
                 "prompt": ("generate", self.run_folder, "--prompt-file"),
                 "eval": ("eval", self.run_folder, "--data")}
        for label, arguments in cases.items():
            for path, number in ((fifo, HUP), (silent, TERM)):
                with self.subTest(label, path=path.name):
                    process = start(*arguments, path)
                    self.addCleanup(self.end, process)
                    wait_for_handlers(process)
                    time.sleep(0.1)
                    process.send_signal(number)
                    self.assert_ends(process, number)
        self.assertFalse((self.folder / "a").exists() or (self.folder / "b").exists())

    def test_a_prompt_from_a_silent_pipe_hears_a_signal(self):
        process = start("generate", self.run_folder, "--prompt-file", "-", stdin=subprocess.PIPE)
        self.addCleanup(self.end, process)
        wait_for_handlers(process)
        process.send_signal(INT)
        self.assertEqual(process.wait(timeout=60), 130)

    def test_a_fifo_is_read_to_its_end_however_late_and_slowly_it_comes(self):
        path = self.fifo("data")
        process = start("train", *("--data" if a == "--data" else path if a == self.text else a for a in self.small),
                        "--out", self.folder / "run")
        wait_for_handlers(process)
        text = self.text.read_bytes()
        with open(path, "wb", buffering=0) as file:
            for part in (text[:10], text[10:900], text[900:]):
                file.write(part)
                time.sleep(0.05)
        self.assertEqual(process.wait(timeout=60), 0, process.stderr.read())
        self.assert_same_bytes(self.folder / "run", self.run_folder, STEPS)

    def test_a_result_that_waits_for_a_reader_hears_a_signal(self):
        unopened, silent = self.fifo("unopened"), self.fifo("silent")
        reader = os.open(silent, os.O_RDWR)  # someone has it open, and reads nothing
        self.addCleanup(os.close, reader)
        for path, number in ((unopened, HUP), (silent, TERM)):
            with self.subTest(path.name):
                process = start("export", self.run_folder, "--out", path)
                self.addCleanup(self.end, process)
                wait_for_handlers(process)
                time.sleep(0.3)
                process.send_signal(number)
                self.assert_ends(process, number)

    def test_a_reader_that_comes_late_gets_the_whole_result(self):
        path, file = self.fifo("late"), self.folder / "file"
        self.done("export", self.run_folder, "--out", file)
        process = start("export", self.run_folder, "--out", path)
        self.addCleanup(self.end, process)
        wait_for_handlers(process)
        time.sleep(0.3)
        self.assertEqual(path.read_bytes(), file.read_bytes())
        self.assertEqual(process.wait(timeout=60), 0)

    def test_who_waits_for_a_sweeps_journal_hears_a_signal(self):
        out = self.folder / "sweep"
        self.done("sweep", "run", self.sweep_file(), "--data", self.text, "--out", out, env=self.trial("exit 0\n"))
        lock, over = out / "journal.log.lock", threading.Event()

        def hold():  # another machine's worker, which has much to write: its lock moves
            while not over.wait(0.2):
                lock.write_text(f"another one at {time.monotonic()}")
        lock.write_text("another one")
        holder = threading.Thread(target=hold)
        holder.start()
        try:
            process = start("sweep", "worker", out)
            self.addCleanup(self.end, process)
            wait_for_handlers(process)
            time.sleep(0.2)
            self.assertIsNone(process.poll())
            process.send_signal(TERM)
            self.assert_ends(process, TERM)
        finally:
            over.set()
            holder.join()

    def test_a_signal_ends_the_wait_for_a_tracking_server(self):
        server = FakeMlflow()
        self.addCleanup(server.stop)
        requests = []

        def silent(handler):
            requests.append(handler.path)
            time.sleep(100)
            return handler.drop()
        server.weather = silent
        run = self.folder / "run"
        process = start("train", *self.small, "--set", f"tracking.mlflow.uri={server.uri}",
                        "--set", "tracking.mlflow.exit_wait=1000", "--out", run)
        self.addCleanup(self.end, process)
        wait_for(lambda: (run / "run.json").exists() and self.status(run) == "finished", process)
        process.send_signal(TERM)
        err = process.communicate(timeout=60)[1].decode()
        self.assertEqual(process.returncode, 0, err)  # the run has finished
        self.assertIn("makemoe track push", err)
        self.assertEqual(len(requests), 1, "not tried again once the first one had no answer")


class OfSweeps(Trained):
    def underway(self, *more, **options):
        """A sweep whose first trial has made more than 100 steps."""
        out = self.folder / "sweep"
        process = start("sweep", "run", self.sweep_file(), "--out", out, *more, **options)
        self.addCleanup(self.end, process)
        trial = out / "trials" / "00000"
        wait_for(lambda: self.last_step(trial) >= 100, process)
        return out, trial, process

    def counts(self, out):
        status = strict_json(self.done("sweep", "status", out, "--json").out)
        return status["running"], status["waiting"], status["trials"][0]["state"]

    def test_hang_up_and_a_schedulers_warnings_have_the_trials_save_and_give_them_back(self):
        for number in (HUP, USR2, XCPU):
            with self.subTest(number):
                out, trial, process = self.underway()
                self.assertEqual(self.counts(out), (1, 0, "running"))
                process.send_signal(number)
                self.assert_ends(process, number)
                self.assertEqual(self.status(trial), "interrupted")
                self.assertEqual(self.counts(out), (0, 1, "waiting"))
                shutil.rmtree(out)

    def test_user_signal_1_has_the_trials_save_and_they_continue(self):
        out, trial, process = self.underway()
        process.send_signal(USR1)
        wait_for(lambda: self.steps(trial), process)
        seen = self.last_step(trial)
        wait_for(lambda: self.last_step(trial) > seen + 100, process)
        self.assertEqual(self.counts(out), (1, 0, "running"))

    def test_user_signal_1_does_not_end_a_trial_that_is_not_ready_for_it(self):
        out = self.folder / "sweep"
        begun, slow = self.folder / "begun", self.folder / "slow.py"
        slow.write_text(f"#!{sys.executable}\nimport pathlib, sys, time\n"
                        "(pathlib.Path(sys.argv[4]) / 'metrics.jsonl').write_text('{\"step\": 1, \"val/loss\": 1}\\n')\n"
                        f"pathlib.Path({str(begun)!r}).touch()\ntime.sleep(0.5)\n")
        slow.chmod(0o755)
        process = start("sweep", "run", self.sweep_file(), "--out", out, "--data", self.text,
                        env={"MAKEMOE_TEST_TRIAL_COMMAND": str(slow)})
        self.addCleanup(self.end, process)
        wait_for(begun.exists, process)
        process.send_signal(USR1)
        self.assertEqual(process.wait(timeout=60), 0, process.stderr.read())
        told = strict_json(self.done("sweep", "status", out, "--json").out)
        self.assertEqual((told["complete"], told["failed"]), (2, 0), told)

    def test_under_nohup_the_trials_do_not_hear_a_hang_up_either(self):
        _, trial, process = self.underway(preexec_fn=ignoring(HUP))
        child = int(pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        for pid in (process.pid, child):
            os.kill(pid, HUP)
        seen = self.last_step(trial)
        wait_for(lambda: self.last_step(trial) > seen + 500, process)
        self.assertEqual(self.status(trial), "running")


class Gone(Trained):
    """What run.json and the journal say of a process that is gone."""

    def told(self, run):
        report = self.folder / "report.html"
        self.done("report", run, "--out", report)
        return strict_json(self.done("info", run, "--json").out)["status"], report.read_text()

    def test_a_killed_run_is_not_told_as_running_but_one_that_runs_is(self):
        run, process = self.endless("run", "--set", "train.checkpoint_interval=50")
        status, report = self.told(run)
        self.assertEqual(status, "running")
        self.assertIn("<td>running</td>", report)
        self.end(process)
        self.assertEqual(self.status(run), "running")  # nobody could change it
        status, report = self.told(run)
        self.assertEqual(status, "killed")
        self.assertIn("<td>killed</td>", report)
        self.assertNotIn("<td>running</td>", report)
        self.assertRegex(self.done("info", run).out, r"status +killed\n")

    def test_the_trial_of_a_killed_sweep_is_waiting(self):
        out = self.folder / "sweep"
        process = start("sweep", "run", self.sweep_file(), "--out", out)
        self.addCleanup(self.end, process)
        wait_for(lambda: self.last_step(out / "trials" / "00000") >= 100, process)
        self.end(process)
        status = strict_json(self.done("sweep", "status", out, "--json").out)
        self.assertEqual((status["running"], status["waiting"], status["trials"][0]["state"]), (0, 1, "waiting"))
        self.assertIn("(0 complete), 1 waiting\n", self.done("sweep", "status", out).out)


class Threads(RunCase):
    """OpenMP ends the process when the system has no thread for it."""

    def of_nobody(self, processes):
        def apply():
            if os.geteuid() == 0:  # whom no limit on processes holds
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            limited(NPROC=processes)()
        return apply

    def test_threads_that_are_not_to_be_had_are_refused_by_name(self):
        self.folder.chmod(0o777)
        run = self.folder / "run"
        for command in (("train", *self.small, "--set", "threads=4", "--out", run), ("bench", "--set", "threads=4")):
            self.assert_refused(makemoe(*command, preexec_fn=self.of_nobody(1)), RESOURCES, ("threads: ", "1 of 4", "lower threads"))
        self.assertFalse(run.exists())

    def test_a_limit_that_is_just_enough_is_enough(self):
        self.folder.chmod(0o777)
        command = ("train", *self.small, "--set", "threads=2", "--out", self.folder / "run")
        self.assert_refused(makemoe(*command, preexec_fn=self.of_nobody(3)), RESOURCES, "1 of 2")
        self.done(*command, preexec_fn=self.of_nobody(4))

    def test_without_a_number_fewer_threads_do_with_a_warning(self):
        self.folder.chmod(0o777)
        for name, threads in (("one", 1), ("open", 0)):
            run = self.folder / name
            self.done("train", *self.small, "--set", f"threads={threads}", "--out", run, preexec_fn=self.of_nobody(1))
            self.assertEqual(strict_json((run / "run.json").read_text())["threads"], 1)

    def test_omp_num_threads_bounds_the_default(self):
        for value, threads in (("1", 0), ("1,4", 0), ("1", 2)):
            run = self.folder / f"{value}-{threads}"
            self.done("train", *self.small, "--set", f"threads={threads}", "--out", run, env={"OMP_NUM_THREADS": value})
            self.assertEqual(strict_json((run / "run.json").read_text())["threads"], threads or 1)
        file = self.folder / "sweep.json"
        file.write_text(json.dumps({"base": str(self.run_folder / "config.json"), "set": {"threads": 0}, "space": {"seed": {"int": [1, 2]}},
                                    "budget": {"steps": 1, "trials": 1}}))
        self.done("sweep", "run", file, "-j", 2, "--out", self.folder / "sweep", env={"OMP_NUM_THREADS": "2"})
        told = strict_json((self.folder / "sweep" / "trials" / "00000" / "config.json").read_text())
        self.assertEqual(told["threads"], 1)
        result = self.done("train", *self.small, "--set", "threads=0", "--out", self.folder / "none", env={"OMP_NUM_THREADS": "x"})
        self.assertIn('warning: OMP_NUM_THREADS: "x" is not a number of threads and is ignored', result.err)


class Shown(RunCase):
    """What a terminal is sent."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hostile = cls.home / "hostile-text"
        cls.hostile.write_bytes(b"\x1b\xc2\x9b" * 500)  # ESC, and C1's CSI
        cls.steering = cls.home / "steering"
        small = [cls.hostile if a == cls.text else a for a in cls.small]
        result = makemoe("train", *small, "--out", cls.steering)
        if result.code != 0:
            raise AssertionError(result)

    def test_a_dumb_terminal_gets_plain_lines(self):
        code, seen = at_terminal("train", *self.small, "--out", self.folder / "run", env={"TERM": "dumb"})
        self.assertEqual(code, 0, seen)
        self.assertNotIn("\x1b", seen)
        self.assertRegex(seen, r"\nstep 2/3  loss [^\r\n]*\r\n")

    def test_a_sample_does_not_steer_a_terminal_and_is_exact_elsewhere(self):
        command = ("generate", self.steering, "--seed", 1, "--max-new-tokens", 20, "--prompt", "\x1b")
        for more in ((), ("--num-samples", 2)):
            code, seen = at_terminal(*command, *more, env={"NO_COLOR": "1"})
            self.assertEqual(code, 0, seen)
            self.assertIn("\\x1b", seen)
            self.assertIn("\\x9b", seen)
            self.assertNotRegex(seen, "[\x1b\x9b]")
        piped = self.done(*command).out
        self.assertRegex(piped, "^\x1b[\x1b\x9b]{20}\n$")
        code, seen = at_terminal(*command, "--json", env={"NO_COLOR": "1"})
        self.assertNotRegex(seen, "[\x1b\x9b]")
        told = strict_json(seen)
        self.assertEqual(told["samples"][0]["prompt"] + told["samples"][0]["text"] + "\n", piped)

    def test_a_name_does_not_steer_a_terminal(self):
        run = self.folder / "\x1b[2Jrun"
        shutil.copytree(self.run_folder, run)
        code, seen = at_terminal("info", run)
        self.assertEqual(code, 0, seen)
        self.assertIn("\\x1b[2Jrun", seen)
        self.assertNotIn("\x1b", seen)

    def test_a_stop_text_that_can_not_come_is_told(self):
        result = self.done("generate", self.run_folder, "--max-new-tokens", 3, "--stop", "☃ab", "--stop", "the")
        self.assertIn('warning: --stop: "☃ab" can never come', result.err)
        self.assertEqual(result.err.count("can never come"), 1)


class Moved(RunCase):
    def test_a_server_that_has_moved_is_named_with_its_new_address(self):
        server = FakeMlflow()
        self.addCleanup(server.stop)
        for status, where in ((308, "https://elsewhere:5000/mlflow"), (307, "/mlflow"), (302, "https://login.example/?next=x")):
            def moved(handler):
                handler.send_response(status)
                handler.send_header("Location", where if "?" in where else where + handler.path)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return True
            server.weather = moved
            with self.subTest(status):
                result = self.train_small(self.folder / str(status), "--set", f"tracking.mlflow.uri={server.uri}")
                self.assertEqual(result.code, 0, result)
                whole = server.uri + where if where.startswith("/") else where
                self.assertIn(f"mlflow: {server.uri}: answered {status}, it has moved to {whole}; ", result.err)
                self.assertIn("check the address" if "?" in where else "give that address", result.err)


if __name__ == "__main__":
    main(at_least=0)
