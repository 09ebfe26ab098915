"""Two processes in one run folder, and folders and files that are taken away meanwhile."""

import hashlib
import shutil
import signal
import socket
import time
import unittest

from support import (CHECKPOINT, DATA, RESOURCES, STEPS, USAGE, RunCase, makemoe, start, strict_json, together,
                     wait_for)

ENDLESS = tuple(part for key in ("max_iters", "eval_interval", "log_interval") for part in ("--set", f"train.{key}=100000000"))


class Rivals(RunCase):
    def test_of_two_runs_started_at_once_exactly_one_wins(self):
        for number in range(100):
            run = self.folder / str(number)
            resumes = ("--resume",) if number % 3 == 2 else ()
            both = [start("train", *self.small, *ENDLESS, *resumes, "--out", run) for _ in range(2)]
            try:
                end = time.monotonic() + 60
                while all(p.poll() is None for p in both) and time.monotonic() < end:
                    time.sleep(0.01)
                loser = next(p for p in both if p.poll() is not None)
                winner = both[1 - both.index(loser)]
                message = loser.communicate()[1].decode()
                self.assertEqual(loser.returncode, RESOURCES, message)
                self.assertIn(str(run), message)
                self.assertIn(f"pid {winner.pid} on {socket.gethostname()} since ", message)
                self.assertRegex(message, r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
                self.assertIsNone(winner.poll())
            finally:
                for process in both:
                    process.kill()
                    process.wait()
                    process.stderr.close()
        # The lock died with its process.
        self.assertEqual(self.train_small(run, *ENDLESS, "--resume", "--stop-after", 1).code, 0)

    def test_a_run_in_use_can_be_read_but_not_changed(self):
        run = self.folder / "run"
        process = start("train", *self.small, *ENDLESS, "--set", "train.eval_interval=100", "--out", run)
        try:
            wait_for(lambda: list(run.glob("checkpoints/step-*")), process)
            for _ in range(5):
                found = makemoe("info", f"{run}@best")
                self.assertIn(found.code, (0, CHECKPOINT), found)  # it may have been pruned in between
                self.assert_clean(found)
            self.assert_refused(makemoe("train", "--resume", "--out", run), RESOURCES, f"pid {process.pid}")
            self.assert_refused(self.train_small(run), RESOURCES, f"pid {process.pid}")
        finally:
            process.kill()
            process.communicate()

    def test_a_stale_lock_file_hinders_nobody(self):
        run, _ = self.copy_of_run()
        for content in (b"pid 1 on elsewhere since 2001-01-01T00:00:00Z", b"\xff" * 9999, b""):
            (run / ".lock").write_bytes(content)
            self.done("train", "--resume", "--out", run)


class Deleted(RunCase):
    def test_a_run_of_which_parts_were_deleted_is_resumed_as_far_as_it_goes(self):
        last, before = self.last.name, f"step-{STEPS - 1:08d}"
        parts = {
            "metrics": ["metrics.jsonl"], "run.json": ["run.json"], "tokenizer": ["tokenizer.json"], "log": ["log.txt"],
            "lock": [".lock"], "hints": ["checkpoints/best", "checkpoints/last"], "last checkpoint": [f"checkpoints/{last}"],
            "last weights": [f"checkpoints/{last}/model.safetensors"], "last manifest": [f"checkpoints/{last}/manifest.json"],
            "two checkpoints": [f"checkpoints/{last}", f"checkpoints/{before}/state.json"], "all checkpoints": ["checkpoints"],
            "config": ["config.json"], "all but checkpoints": ["config.json", "run.json", "metrics.jsonl", "tokenizer.json", "log.txt"],
        }

        def resumed(case):
            label, names = case
            run = self.folder / label
            shutil.copytree(self.run_folder, run)
            for name in names:
                path = run / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            return self.train_small(run, "--resume")
        for (label, names), result in zip(parts.items(), together(resumed, parts.items())):
            with self.subTest(label):
                if label == "two checkpoints":  # only damaged ones are left
                    self.assert_refused(result, CHECKPOINT, "damaged")
                    continue
                self.assertEqual(result.code, 0, result)
                run = self.folder / label
                if "metrics.jsonl" in names:
                    self.assertFalse((run / "metrics.jsonl").exists())  # all was done before
                else:
                    self.assert_same_end(run, self.run_folder)

    def test_a_run_that_is_deleted_while_it_trains_ends_clearly(self):
        for what in ("all", "checkpoints"):
            run = self.folder / what
            process = start("train", *self.small, *ENDLESS, "--set", "train.eval_interval=20", "--out", run)
            wait_for(lambda: list(run.glob("checkpoints/step-*")), process)
            for _ in range(20):  # it is being written to
                shutil.rmtree(run if what == "all" else run / "checkpoints", ignore_errors=True)
            if what == "checkpoints":  # without its lock it ends by itself
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
            self.assertIn(process.returncode, (RESOURCES,) if what == "all" else (RESOURCES, 128 + signal.SIGTERM), err)
            self.assertNotIn(b"terminate called", err)

    def test_metrics_are_cut_back_to_the_checkpoint_whatever_follows(self):
        whole = (self.run_folder / "metrics.jsonl").read_bytes()
        for tail in (b'{"step": 4, "val/loss"', b"\0" * 500, b"\xff\xfe\n", b"[]\n" * 3, b'{"step": "x"}\n', b'{"step": 99999}\n',
                     b"[" * 100_000 + b"\n", b'{"step": 1e400}\n', b'{"step": 18446744073709551615}\n'):
            with self.subTest(tail[:20]):
                run, checkpoint = self.copy_of_run(hashlib.sha256(tail).hexdigest())
                (run / "metrics.jsonl").write_bytes(whole + tail)
                result = makemoe("train", "--resume", "--out", run, "--set", f"train.max_iters={STEPS + 1}")
                self.assertEqual(result.code, 0, result)
                steps = [strict_json(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
                self.assertEqual(steps, sorted(steps))
                self.assertEqual(max(steps), STEPS + 1)

    def test_a_hostile_file_of_the_run_is_refused_or_passed_over(self):
        for number, text in enumerate(("", "{", "[]", "null", '{"start": []}', "\0", '{"status": 3, "start": {"a": 1}}', "[" * 10_000)):
            run, _ = self.copy_of_run(f"run-{number}")
            (run / "run.json").write_text(text)
            self.done("train", "--resume", "--out", run)
        cases = {}
        for number, text in enumerate(("", "{", "[]", "null", '{"model": []}', '{"model": {"n_embed": "x"}}', "[" * 10_000, "folder")):
            run, _ = self.copy_of_run(f"config-{number}")
            (run / "config.json").unlink()
            if text == "folder":
                (run / "config.json").mkdir()
            else:
                (run / "config.json").write_text(text)
            cases[text[:30]] = (("train", "--resume", "--out", run), run / "config.json")
        self.refuse_all(USAGE, cases)

    def test_a_text_that_is_gone_or_changed_is_refused_on_resume(self):
        run = self.folder / "run"
        text = self.folder / "text"
        shutil.copy(self.text, text)
        small = [a if a != self.text else text for a in self.small]
        self.done("train", *small, "--stop-after", 1, "--out", run)
        self.done("train", "--resume", "--out", run, "--stop-after", 2, "--data", self.text)  # the same text elsewhere
        text.write_text(text.read_text() + ".")
        changed = {"changed": (("train", "--resume", "--out", run, "--data", text), (text, "sha256"))}
        self.refuse_all(DATA, changed)
        text.unlink()
        self.refuse_all(DATA, {"gone": (("train", "--resume", "--out", run, "--data", text), text)})


if __name__ == "__main__":
    unittest.main()
