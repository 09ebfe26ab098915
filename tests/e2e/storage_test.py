"""Crashes, full disks, places and signals: no checkpoint is lost, and what continues ends with the same bytes."""

import os
import pathlib
import random
import shutil
import signal
import time
import unittest

from support import (CHECKPOINT, DATA, RESOURCES, STEPS, TEXT, USAGE, Result, RunCase, limited, makemoe, start,
                     strict_json, temporaries, together, tree, wait_for, wait_for_handlers)

NOBODY = 65534
MOST_OPERATIONS = 400  # of the small run; more is a test that does not end


class Faults(RunCase):
    """The small run with a fault at its n-th change of the disk, for n = 1, 2, ... until none is left."""

    def attempt(self, fault):
        """The small run with the fault, and again with --resume when it did not end with 0."""
        run = self.folder / fault
        result = self.train_small(run, env={"MAKEMOE_TEST_FAULT": fault})
        left = [p for p in temporaries(run) if not p.name.startswith(".tmp-old-")]  # a removal that failed
        return run, result, left, self.train_small(run, "--resume") if result.code != 0 else result

    def until_it_survives(self, fault, check, stride=1, suffix=""):
        """check(result, left) at operation 1, 1 + stride, ... while it says that the fault was met."""
        for n in range(1, MOST_OPERATIONS, 2 * stride):
            faults = [f"{fault}@{at}{suffix}" for at in (n, n + stride)]
            for plan, (run, result, left, after) in zip(faults, together(self.attempt, faults)):
                with self.subTest(plan):
                    if result.code == 0 and not check(result, left):
                        shutil.rmtree(run)
                        # The run has no such operation: the fault was not just passed over in silence.
                        crash = f"crash@{plan.strip('+').partition('@')[2]}"
                        self.assertEqual(self.train_small(run, env={"MAKEMOE_TEST_FAULT": crash}).code, 0)
                        return
                    if result.code != 0:
                        self.assertTrue(check(result, left))
                        self.assertEqual(after.code, 0, after)
                        self.assertEqual(temporaries(run), [])
                    self.assert_same_end(run, self.run_folder)
                shutil.rmtree(run)
                if result.code not in (0, RESOURCES, -signal.SIGKILL):
                    raise AssertionError(f"{plan}: {result}")
        raise AssertionError(f"{fault}: still met after {MOST_OPERATIONS} operations")

    def test_a_crash_at_any_operation_loses_nothing(self):
        met = []

        def check(result, left):
            if result.code != 0:
                self.assertEqual(result.code, -signal.SIGKILL, result)
                met.append(result)
            return result.code != 0
        self.until_it_survives("crash", check)
        self.assertGreater(len(met), 60)

    def failing(self, fault, says, **options):
        codes = []

        def check(result, left):
            if result.code == 0 and says not in result.err:
                return False
            if result.code == 0:
                self.assertIn("warning: ", result.err)
                self.assert_clean(result)
            else:
                self.assert_refused(result, RESOURCES, says)
            self.assertEqual(left, [])
            codes.append(result.code)
            return True
        self.until_it_survives(fault, check, **options)
        return codes

    def test_a_full_disk_at_any_operation_loses_nothing(self):
        codes = self.failing("ENOSPC", "No space left on device")
        self.assertGreater(len(codes), 60)
        self.assertGreater(codes.count(0), 20)  # in the middle of a run: training continues
        self.assertGreater(codes.count(RESOURCES), 5)

    def test_a_short_write_at_any_operation_loses_nothing(self):
        self.failing("short", "No space left on device", stride=5)

    def test_a_disk_that_fails_from_some_operation_on_loses_nothing(self):
        self.failing("EIO", "Input/output error", stride=9, suffix="+")

    def test_a_crash_while_resuming_loses_nothing_either(self):
        stopped = self.folder / "stopped"
        self.assertEqual(self.train_small(stopped, "--stop-after", 1).code, 0)
        (stopped / "checkpoints" / ".tmp-step-00000002").mkdir()  # what the first crash left
        (stopped / ".tmp-config.json").write_text("{")

        def crash(n):
            run = self.folder / str(n)
            shutil.copytree(stopped, run)
            return run, self.train_small(run, "--resume", env={"MAKEMOE_TEST_FAULT": f"crash@{n}"})
        for run, result in together(crash, range(1, 30, 4)):
            with self.subTest(run.name):
                self.assertEqual(result.code, -signal.SIGKILL, result)
                after = self.train_small(run, "--resume")
                self.assertEqual(after.code, 0, after)
                self.assertEqual(temporaries(run), [])
                self.assert_same_end(run, self.run_folder)

    def test_a_kill_at_any_time_loses_nothing(self):
        many = ("--set", "train.max_iters=30", "--set", "train.eval_interval=2")
        begin = time.monotonic()
        whole = self.folder / "whole"
        self.assertEqual(self.train_small(whole, *many).code, 0)
        took = time.monotonic() - begin
        draws = random.Random(7)

        def killed(moment):
            run = self.folder / f"{moment:.6f}"
            process = start("train", *self.small, *many, "--out", run)
            time.sleep(moment)
            process.kill()
            process.communicate()
            return run, self.train_small(run, *many, "--resume")
        for run, result in together(killed, [draws.uniform(0.1, 1) * took for _ in range(8)]):
            with self.subTest(run.name):
                self.assertEqual(result.code, 0, result)
                self.assert_same_bytes(run, whole, 30)
                self.assertEqual(temporaries(run), [])

    def test_an_unknown_fault_plan_is_refused(self):
        for plan in ("crash", "crash@", "crash@0", "crash@-1", "melt@3", "@3", "EIO@3x"):
            self.assert_refused(makemoe("info", self.run_folder, env={"MAKEMOE_TEST_FAULT": plan}), USAGE, "fault plan")


class Sizes(RunCase):
    """RLIMIT_FSIZE stands for a full disk: writes beyond it fail, and its signal is ignored."""

    def test_a_limit_on_file_sizes_ends_with_6_and_loses_nothing(self):
        limits = (0, 100, 1000, 50_000, 250_000)

        def train(limit):
            run = self.folder / str(limit)
            return run, self.train_small(run, preexec_fn=limited(FSIZE=limit))
        for run, result in together(train, limits):
            with self.subTest(run.name):
                self.assert_refused(result, RESOURCES, "File too large")
                self.assertEqual(temporaries(run), [])
                self.assertEqual(self.train_small(run, "--resume").code, 0)
                self.assert_same_end(run, self.run_folder, rows="some")

    def test_a_checkpoint_that_can_not_be_written_leaves_the_ones_before(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run, "--stop-after", 1).code, 0)
        before = tree(run / "checkpoints")
        result = self.train_small(run, "--resume", preexec_fn=limited(FSIZE=100_000))
        self.assert_refused(result, RESOURCES, ("File too large", "step-0000000"))
        self.assertIn("training continues", result.err)
        self.assertEqual(tree(run / "checkpoints"), before)
        self.assertEqual(self.train_small(run, "--resume").code, 0)
        self.assert_same_end(run, self.run_folder, rows="some")

    def test_an_export_that_fails_leaves_the_old_file_and_nothing_beside_it(self):
        out = self.folder / "weights.safetensors"
        out.write_text("old")
        command = ("export", self.run_folder, "--format", "makemoe", "--out", out)
        for fault in ("ENOSPC@1", "short@1", "EIO@2", "EIO@3"):
            self.assert_refused(makemoe(*command, env={"MAKEMOE_TEST_FAULT": fault}), RESOURCES, out.name)
            self.assertEqual([p.name for p in self.folder.iterdir()], [out.name])
            self.assertEqual(out.read_text(), "old")
        self.assert_refused(makemoe(*command, preexec_fn=limited(FSIZE=1000)), RESOURCES, "File too large")
        self.assertEqual([p.name for p in self.folder.iterdir()], [out.name])
        self.done(*command)

    def test_an_import_that_fails_leaves_a_whole_checkpoint_or_none(self):
        weights = self.folder / "w.safetensors"
        self.done("export", self.run_folder, "--format", "makemoe", "--out", weights)
        config = self.folder / "config.json"
        shutil.copy(self.last / "config.json", config)

        def attempt(fault):
            out = self.folder / fault
            return out, makemoe("import", weights, "--config", config, "--data", self.text, "--out", out,
                                env={"MAKEMOE_TEST_FAULT": fault})
        faults = [f"{kind}@{n}" for kind in ("ENOSPC", "crash") for n in range(1, 32, 7)]
        for out, result in together(attempt, faults):
            with self.subTest(out.name):
                if out.name.startswith("crash"):
                    self.assertEqual(result.code, -signal.SIGKILL)
                else:
                    self.assert_refused(result, RESOURCES, "No space left")
                    self.assertEqual(temporaries(out), [])
                found = makemoe("info", out)
                if list(out.glob("checkpoints/step-*")):
                    self.assertEqual(found.code, 0, found)
                else:
                    self.assert_refused(found, CHECKPOINT)

    def test_a_full_standard_output_is_an_error(self):
        with open("/dev/full", "wb") as full:
            for command in (("info", self.run_folder), ("config", "defaults"), ("eval", self.run_folder, "--json"),
                            ("generate", self.run_folder, "--max-new-tokens", 5), ("train", "--json", *self.small, "--out",
                                                                                   self.folder / "run")):
                with self.subTest(command[0]):
                    result = makemoe(*command, stdout=full)
                    self.assert_refused(result, RESOURCES, ("standard output", "No space left"))


class Places(RunCase):
    def test_a_folder_that_can_not_be_made_is_refused(self):
        file = self.folder / "file"
        file.write_text("")
        (self.folder / "loop").symlink_to("loop")
        cases = {}
        for out in (file, file / "run", "/proc/makemoe", "/dev/null/run", "/dev/null", self.folder / ("x" * 300), self.folder / "loop",
                    "/" + "x/" * 3000):
            cases[str(out)[:60]] = (("train", *self.small, "--out", out), str(out)[:60])
            cases[f"resume {out}"[:60]] = (("train", *self.small, "--resume", "--out", out), str(out)[:60])
        weights = self.last / "model.safetensors"
        for out in (file, "/dev/null/run"):
            cases[f"import {out}"] = (("import", weights, "--config", self.last / "config.json", "--vocab",
                                       self.last / "tokenizer.json", "--out", out), out)
        for out in (self.folder, self.folder / "absent" / "w.safetensors", file / "w.safetensors", "/proc/w.safetensors"):
            cases[f"export {out}"] = (("export", self.run_folder, "--format", "makemoe", "--out", out), pathlib.Path(out).parent)
        self.refuse_all(RESOURCES, cases)

    def test_a_folder_with_files_is_left_as_it_is(self):
        for name in ("notes.txt", ".hidden", "checkpoints"):
            out = self.folder / name / "run"
            (out / name).mkdir(parents=True)
            cases = {"train": (("train", *self.small, "--out", out), (out, "--resume")),
                     "import": (("import", self.last / "model.safetensors", "--config", self.last / "config.json", "--vocab",
                                 self.last / "tokenizer.json", "--out", out), out)}
            self.refuse_all(RESOURCES, cases)
            self.assertEqual([p.name for p in out.iterdir()], [name])
        empty = self.folder / "empty"
        empty.mkdir()
        self.assertEqual(self.train_small(empty, "--stop-after", 0).code, 0)

    def test_a_folder_without_permission_is_refused(self):
        user = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        if makemoe("--version", **user).code != 0:
            self.skipTest("nobody may not run the binary")
        for path in (self.run_folder, *self.run_folder.rglob("*")):  # whatever the umask was
            path.chmod(0o755 if path.is_dir() else 0o644)
        locked = self.folder / "locked"
        shutil.copytree(self.run_folder, locked)
        secret = self.folder / "secret"
        secret.write_text(self.text.read_text())
        secret.chmod(0)
        for path in (locked, locked / "checkpoints"):
            path.chmod(0o555)
        try:
            small = [a if a != self.text else secret for a in self.small]
            self.refuse_all(RESOURCES, {
                "new run": (("train", *self.small, "--out", self.folder / "locked" / "new"), "Permission denied"),
                "resume": (("train", "--resume", "--out", locked, "--set", f"train.max_iters={STEPS + 1}"), "Permission denied"),
                "export": (("export", self.run_folder, "--format", "makemoe", "--out", locked / "w"), "Permission denied"),
            }, **user)
            self.refuse_all(DATA, {
                "text": (("train", *small, "--out", "/tmp/never-made"), (secret, "Permission denied")),
                "eval": (("eval", self.run_folder, "--data", secret), (secret, "Permission denied")),
                "prompt": (("generate", self.run_folder, "--prompt-file", secret), (secret, "Permission denied")),
            }, **user)
            self.done("info", locked, **user)  # reading needs no right to write
            self.done("eval", locked, **user)
            (locked / "checkpoints" / self.last.name / "model.safetensors").chmod(0)
            self.refuse_all(CHECKPOINT, {"info": (("info", locked), "Permission denied")}, **user)
        finally:
            for path in (locked, locked / "checkpoints"):
                path.chmod(0o755)


class Signals(RunCase):
    """Codes 130 and 143, at any time after the start."""

    def stop(self, process, sent, delay):
        """Sends the signal `delay` seconds after the start-up; its exit code and standard error."""
        wait_for_handlers(process)
        time.sleep(delay)
        process.send_signal(sent)
        err = process.communicate(timeout=60)[1].decode()
        return Result(process.returncode, "", err)

    def assert_stopped(self, result, sent):
        self.assert_clean(result)
        self.assertEqual(result.code, 128 + sent, result)

    def test_train_stops_at_any_time_and_goes_on_bit_for_bit(self):
        long = ("--set", "train.max_iters=1000000", "--set", "train.eval_interval=50", "--set", "train.log_interval=50")
        draws = random.Random(11)
        delays = [0, 0, *(draws.uniform(0, 1) for _ in range(4))]

        def stopped(case):
            number, (sent, delay) = case
            run, whole = self.folder / str(number), self.folder / f"whole-{number}"
            result = self.stop(start("train", *self.small, *long, "--out", run), sent, delay)
            status = strict_json((run / "run.json").read_text())
            end = status["step"] + 3
            again = makemoe("train", "--resume", "--out", run, "--stop-after", end)
            return result, status, again, self.train_small(whole, *long, "--stop-after", end)

        cases = list(enumerate(zip([signal.SIGINT, signal.SIGTERM] * 3, delays)))
        for (number, (sent, _)), (result, status, again, straight) in zip(cases, together(stopped, cases)):
            with self.subTest(number, step=status["step"]):
                self.assert_stopped(result, sent)
                self.assertEqual(status["status"], "interrupted")
                self.assertEqual((again.code, straight.code), (0, 0), again)
                self.assert_same_bytes(self.folder / str(number), self.folder / f"whole-{number}", status["step"] + 3)

    def long_text(self, times):
        text = self.folder / "long"
        symbols = set(self.text.read_text())
        text.write_text("".join(c for c in TEXT.read_text() if c in symbols) * times)
        return text

    def test_eval_and_generate_stop_at_any_time(self):
        text = self.long_text(150)
        commands = {"eval": ("eval", self.run_folder, "--data", text, "--json"),
                    "eval random": ("eval", self.run_folder, "--set", "eval.mode=random", "--set", "eval.eval_iters=1000000"),
                    "generate": ("generate", self.run_folder, "--max-new-tokens", 100_000_000),
                    "generate many": ("generate", self.run_folder, "--max-new-tokens", 20_000, "--num-samples", 4096, "--json"),
                    "bench": ("bench", *self.small[:2], "--set", "threads=1", "--steps", 100_000)}
        draws = random.Random(3)
        cases = [(label, command, sent, delay) for label, command in commands.items()
                 for sent, delay in ((signal.SIGINT, 0), (signal.SIGTERM, draws.uniform(0.1, 1)))]
        results = together(lambda case: self.stop(start(*case[1]), case[2], case[3]), cases)
        for (label, _, sent, delay), result in zip(cases, results):
            with self.subTest(label, signal=sent, delay=delay):
                self.assert_stopped(result, sent)

    def test_an_evaluation_within_training_stops_too_and_is_made_up_for(self):
        run, whole = self.folder / "run", self.folder / "whole"
        arguments = [a if a != self.text else self.long_text(100) for a in self.small]
        arguments += ["--set", "train.eval_interval=1000", "--set", "train.max_iters=1000"]
        process = start("train", *arguments, "--out", run)
        wait_for(lambda: (run / "run.json").exists(), process)  # written right before the first evaluation
        self.assert_stopped(self.stop(process, signal.SIGTERM, 0.1), signal.SIGTERM)
        self.assertEqual(strict_json((run / "run.json").read_text())["step"], 0)
        self.assertFalse((run / "metrics.jsonl").exists())  # it was within the first evaluation
        self.done("train", "--resume", "--out", run, "--stop-after", 1)
        self.done("train", *arguments, "--out", whole, "--stop-after", 1)
        self.assert_same_bytes(run, whole, 1)

    def test_a_run_that_would_evaluate_for_most_of_its_time_says_what_to_set(self):
        arguments = [a if a != self.text else self.long_text(20) for a in self.small]
        arguments += ["--set", "model.block_size=256", "--set", "train.max_iters=1000000", "--set", "eval.stride=1"]
        for interval, says in ((1, True), (1_000_000, False)):
            with self.subTest(interval=interval):
                run = self.folder / f"every {interval}"
                process = start("train", *arguments, "--set", f"train.eval_interval={interval}", "--out", run)
                wait_for(lambda: (run / "run.json").exists(), process)
                result = self.stop(process, signal.SIGTERM, 0.1)
                self.assertEqual("warning: each evaluation reads " in result.err, says, result)
                self.assertEqual("--set eval.mode=random" in result.err, says, result)

    def test_a_run_whose_last_evaluation_was_cut_short_has_not_finished(self):
        run, whole = self.folder / "run", self.folder / "whole"
        arguments = [a if a != self.text else self.long_text(100) for a in self.small]
        arguments += ["--set", "train.eval_interval=1000", "--set", "train.max_iters=1"]
        process = start("train", *arguments, "--out", run)
        metrics = run / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and '"step":1,' in metrics.read_text(), process)
        self.assert_stopped(self.stop(process, signal.SIGTERM, 0.1), signal.SIGTERM)
        status = strict_json((run / "run.json").read_text())
        self.assertEqual((status["step"], status["status"], status["ended_by"]), (1, "interrupted", "signal"))
        self.done("train", "--resume", "--out", run)
        self.assertEqual(strict_json((run / "run.json").read_text())["status"], "finished")
        self.done("train", *arguments, "--out", whole)
        self.assert_same_bytes(run, whole, 1)

    def test_a_second_signal_ends_at_once(self):
        for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)):
            # A step of many minutes.
            run = self.folder / f"{first}-{second}"
            process = start("train", *self.small, "--set", "train.grad_accumulation=65536", "--set", "train.batch_size=256",
                            "--out", run)
            wait_for(lambda: (run / "metrics.jsonl").exists(), process)
            time.sleep(0.5)  # from the row of step 0 into the step
            process.send_signal(first)
            time.sleep(0.5)
            self.assertIsNone(process.poll())
            process.send_signal(second)
            process.communicate(timeout=20)
            self.assertEqual(process.returncode, 128 + second)
            self.assertEqual(temporaries(run), [])


if __name__ == "__main__":
    unittest.main()
