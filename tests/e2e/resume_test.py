"""Resuming beside damage, strangers and pruning; how a run ends, and how it is extended."""

import json
import shutil

from support import BINARY, CHECKPOINT, STEPS, USAGE, Case, RunCase, main, makemoe, reseal, start, strict_json, wait_for

OTHER = 9  # the step of a checkpoint that comes from another run


def more(steps):
    return ("--set", f"train.max_iters={steps}")


def damage(checkpoint):
    """A flipped bit, so that all sizes are right."""
    path = checkpoint / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def steps_of(run):
    return sorted(int(p.name[5:]) for p in (run / "checkpoints").glob("step-*"))


def row_steps(run, name="metrics.jsonl"):
    return [strict_json(line)["step"] for line in (run / name).read_text().splitlines()]


class DamagedCase(RunCase):
    """A small run with the checkpoints 1, 2 and 3, each better than the one before."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = cls.home / "whole"
        assert cls.train_small(cls.whole, "--set", "train.keep_checkpoints=3").code == 0
        cls.stranger = cls.home / "stranger"
        assert cls.train_small(cls.stranger, "--set", "seed=7", *more(OTHER)).code == 0

    def copy(self, name="copy"):
        run = self.folder / name
        shutil.copytree(self.whole, run)
        return run

    def checkpoint(self, run, step):
        return run / "checkpoints" / f"step-{step:08d}"

    def copy_with_stranger(self):
        run = self.copy()
        shutil.copytree(self.checkpoint(self.stranger, OTHER), self.checkpoint(run, OTHER))
        return run

    def step_of(self, name):
        """What a name means, and what is said of it."""
        result = self.done("info", name, "--json")
        return strict_json(result.out)["step"], result.err


class Names(DamagedCase):
    def test_last_and_best_and_the_run_mean_the_newest_sound_checkpoint_and_say_what_is_damaged(self):
        run = self.copy()
        damage(self.checkpoint(run, 3))
        for which in ("@last", "@best", ""):
            step, said = self.step_of(f"{run}{which}")
            self.assertEqual(step, 2)
            self.assertIn(f"{self.checkpoint(run, 3).name}/model.safetensors", said)

    def test_a_checkpoint_named_by_its_step_or_folder_never_falls_back(self):
        run = self.copy()
        damage(self.checkpoint(run, 3))
        self.refuse_all(CHECKPOINT, {str(name): (("info", name), "step-00000003") for name in
                                     (f"{run}@3", self.checkpoint(run, 3))})

    def test_every_command_that_takes_a_checkpoint_falls_back_with_a_warning(self):
        run = self.copy()
        damage(self.checkpoint(run, 3))
        for command in (("eval", f"{run}@last"), ("generate", f"{run}@last", "--max-new-tokens", 2),
                        ("inspect", f"{run}@last"), ("export", f"{run}@last", "--out", self.folder / "w"),
                        ("train", *self.small, "--init-from", f"{run}@last", "--out", self.folder / "new", "--stop-after", 0)):
            with self.subTest(command[0]):
                self.assertIn("passed over", self.done(*command).err)

    def test_a_lost_or_foreign_hint_changes_no_name(self):
        run = self.copy()
        hints = [run / "checkpoints" / name for name in ("best", "last")]
        for content in (None, "step-00000001\n"):
            for hint in hints:
                hint.unlink() if content is None else hint.write_text(content)
            for which in ("@best", "@last", ""):
                self.assertEqual(self.step_of(f"{run}{which}"), (STEPS, ""), content)

    def test_the_state_names_the_best_and_says_when_it_has_no_checkpoint(self):
        run = self.copy()
        for step in (2, 3):
            state = self.checkpoint(run, step) / "state.json"
            state.write_text(json.dumps({**json.loads(state.read_text()), "best_step": 1}))
            reseal(self.checkpoint(run, step))
        self.assertEqual(self.step_of(run), (1, ""))
        shutil.rmtree(self.checkpoint(run, 1))
        self.assert_refused(makemoe("info", f"{run}@best"), CHECKPOINT, "best step, 1, has no checkpoint")
        step, said = self.step_of(run)
        self.assertEqual(step, 3)
        self.assertIn("best step, 1, has no checkpoint", said)
        self.assertIn("best step, 1, has no checkpoint", self.done("train", "--resume", "--out", run, *more(4)).err)

    def test_a_checkpoint_of_another_run_is_not_the_last_although_its_step_is_higher(self):
        run = self.copy_with_stranger()
        for which in ("@last", "@best", ""):
            step, said = self.step_of(f"{run}{which}")
            self.assertEqual(step, STEPS)
            self.assertIn("is of another run: seed: ", said)
        self.assertEqual(self.step_of(f"{run}@{OTHER}"), (OTHER, ""))  # named, it is what was asked for

    def test_a_report_names_the_best_and_the_last_as_every_command_does(self):
        run = self.copy_with_stranger()
        damage(self.checkpoint(run, 3))
        (run / "checkpoints" / "best").write_text("step-00000001\n")
        self.done("report", run)
        page = (run / "report.html").read_text()
        rows = {name: page[page.rindex("<tr>", 0, at):at] for name in ("step-00000002", "step-00000003")
                for at in (page.rindex(f"<code>{name}"),)}
        self.assertIn("best, last", rows["step-00000002"])
        self.assertNotIn("last", rows["step-00000003"])


class Resume(DamagedCase):
    def test_a_damaged_newest_one_is_kept_aside_and_no_sound_one_is_pruned_for_it(self):
        run = self.copy()
        damage(self.checkpoint(run, 3))
        result = self.done("train", "--resume", "--out", run, "--set", "train.keep_checkpoints=2", "--stop-after", 2)
        self.assertIn("falling back to step 2", result.err)
        self.assertEqual(steps_of(run), [1, 2])
        self.assertTrue((run / "checkpoints" / "damaged-step-00000003" / "model.safetensors").exists())
        for hint in ("best", "last"):
            self.assertEqual((run / "checkpoints" / hint).read_text(), "step-00000002\n")
        self.done("train", "--resume", "--out", run)
        self.assert_same_end(run, self.run_folder)

    def test_retention_counts_only_sound_ones(self):
        run = self.copy()
        damage(self.checkpoint(run, 2))  # not the newest: a resume has no reason to read it
        self.done("train", "--resume", "--out", run, "--set", "train.keep_checkpoints=3", "--set", "optim.schedule.kind=constant", *more(4))
        self.assertEqual(steps_of(run), [1, 2, 3, 4])

    def test_a_checkpoint_of_another_run_is_passed_over_and_kept_aside(self):
        run = self.copy_with_stranger()
        result = self.done("train", "--resume", "--out", run, *more(4))
        self.assertIn("is of another run: seed: ", result.err)
        self.assertIn(f"resuming at step {STEPS}", result.err)
        self.assertEqual(steps_of(run)[-1], 4)
        aside = run / "checkpoints" / f"foreign-step-{OTHER:08d}"
        self.assertEqual((aside / "model.safetensors").read_bytes(),
                         (self.checkpoint(self.stranger, OTHER) / "model.safetensors").read_bytes())

    def test_a_run_of_nothing_but_strangers_is_refused_and_left_as_it_was(self):
        run = self.copy_with_stranger()
        for step in (1, 2, 3):
            shutil.rmtree(self.checkpoint(run, step))
        self.refuse_all(CHECKPOINT, {"resume": (("train", "--resume", "--out", run), "of another run")})

    def test_a_run_without_its_config_takes_that_of_its_checkpoint_for_its_own(self):
        run = self.copy()
        (run / "config.json").unlink()
        self.refuse_all(USAGE, {"resume": (("train", *self.small, "--out", run, "--resume", "--set", "seed=7"), "seed: ")})

    def test_bad_lines_between_sound_rows_are_kept_aside_and_no_row_is_lost(self):
        run = self.copy()
        for name in ("metrics.jsonl", "samples.jsonl"):
            path = run / name
            path.touch()
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join([*lines[:1], "{garbage\n", "\0\0\n", *lines[1:], '{"step":4,"x":1}\n{"st']))
        rows = self.timeless_rows(self.whole)
        result = self.done("train", "--resume", "--out", run, *more(4), "--stop-after", 3)
        self.assertIn("metrics.jsonl: 2 lines are no rows; they are kept aside in metrics.jsonl.bad", result.err)
        self.assertEqual(self.timeless_rows(run), rows)
        self.assertEqual((run / "metrics.jsonl.bad").read_bytes(), b"{garbage\n\0\0\n")
        self.assertEqual((run / "samples.jsonl.bad").read_bytes(), b"{garbage\n\0\0\n")

    def test_no_step_appears_twice_in_rows_and_samples_after_a_kill(self):
        run = self.folder / "run"
        self.train_small(run, "--set", "train.sample_interval=1", "--set", "train.checkpoint_interval=2", "--set",
                         "train.early_stopping_patience=50", env={"MAKEMOE_TEST_FAULT": "crash@60"})
        self.done("train", "--resume", "--out", run)
        samples, rows = row_steps(run, "samples.jsonl"), row_steps(run)
        self.assertEqual(samples, sorted(set(samples)))
        self.assertEqual(rows, [0, 1, 1, 2, 2, 3, 3])  # of each step what was learned, and its evaluation

    def test_an_evaluation_that_the_checkpoint_does_not_know_is_made_and_written_once(self):
        run = self.folder / "run"
        self.train_small(run, "--set", "train.eval_interval=2", "--stop-after", 1)
        with (run / "metrics.jsonl").open("a") as file:  # as of a session that was killed before it saved
            file.write('{"step":1,"time_s":1.0,"tokens":9,"train/loss":1.0,"val/loss":1.0}\n')
        self.done("train", "--resume", "--out", run, "--set", "train.eval_interval=1", "--stop-after", 1)
        self.assertEqual([row["step"] for row in self.timeless_rows(run) if "val/loss" in row], [0, 1])


class Ends(Case):
    def early(self, name="early"):
        """A run whose first evaluation stays the best: it stops after the second one."""
        run = self.folder / name
        self.done("train", *self.small, "--set", "optim.learning_rate=10", "--set", "train.early_stopping_patience=1",
                  *more(5), "--out", run)
        return run

    def end_of(self, run):
        return strict_json((run / "run.json").read_text())["ended_by"]

    def test_an_early_stop_is_named_everywhere_and_says_how_to_extend(self):
        run = self.early()
        self.assertEqual(self.end_of(run), "early_stopping")
        self.assertIn("early stopping, train.early_stopping_patience is 1", (run / "log.txt").read_text())
        for changes in ((), more(9)):
            result = self.done("train", "--resume", "--out", run, "--json", *changes)
            self.assertEqual((strict_json(result.out)["step"], strict_json(result.out)["ended_by"]), (1, "early_stopping"))
            self.assertIn("to extend the run, resume it with a larger", result.err)

    def test_a_longer_patience_extends_an_early_stopped_run(self):
        for patience, end in (("3", "early_stopping"), ("null", "max_iters")):
            run = self.early(patience)
            result = self.done("train", "--resume", "--out", run, "--set", f"train.early_stopping_patience={patience}", "--json")
            self.assertEqual(strict_json(result.out)["ended_by"], end)
            self.assertEqual(self.end_of(run), end)
            self.assertEqual(strict_json(result.out)["step"], 3 if patience == "3" else 5)

    def test_each_other_end_has_its_name(self):
        run = self.folder / "run"
        result = self.done("train", *self.small, "--out", run, "--stop-after", 1, "--json")
        self.assertEqual((strict_json(result.out)["ended_by"], self.end_of(run)), ("stop_after", "stop_after"))
        result = self.done("train", "--resume", "--out", run, "--json")
        self.assertEqual((strict_json(result.out)["ended_by"], self.end_of(run)), ("max_iters", "max_iters"))
        endless = self.folder / "endless"
        process = start("train", *self.small, *more(10**7), "--out", endless)
        wait_for(lambda: (endless / "checkpoints").exists(), process)
        process.terminate()
        process.communicate()
        self.assertEqual((process.returncode, self.end_of(endless)), (143, "signal"))

    def test_a_max_iters_below_the_step_and_a_schedule_that_jumps_are_said(self):
        run = self.folder / "run"
        self.done("train", *self.small, "--set", "optim.schedule.kind=cosine", "--out", run)
        lowered = self.done("train", "--resume", "--out", run, *more(2))
        self.assertIn(f"train.max_iters: 2 is below the step that the run has reached, {STEPS}", lowered.err)
        raised = self.done("train", "--resume", "--out", run, *more(6))
        self.assertIn(f"the learning rate of step {STEPS + 1} jumps from ", raised.err)

    def test_an_extended_run_with_a_constant_rate_has_nothing_to_warn_of(self):
        run = self.folder / "run"
        self.done("train", *self.small, "--out", run)
        result = self.done("train", "--resume", "--out", run, *more(4), "--set", "threads=2")
        self.assertNotIn("jumps", result.err)
        self.assertNotIn("bit for bit", result.err)

    def test_threads_that_change_the_bits_of_the_reference_kernels_are_said(self):
        run = self.folder / "run"
        self.done("train", *self.small, "--set", "model.kernels=reference", "--out", run)
        result = self.done("train", "--resume", "--out", run, *more(4), "--set", "threads=2")
        self.assertIn("not bit for bit", result.err)

    def test_tensorboard_asked_for_on_a_finished_run_is_written_from_its_rows_once(self):
        run = self.folder / "run"
        self.done("train", *self.small, "--out", run)
        for said in (True, False):
            result = self.done("train", "--resume", "--out", run, "--set", "tracking.tensorboard=true")
            self.assertEqual("TensorBoard's file was written" in result.err, said)
            self.assertEqual([p.name[-4:] for p in run.glob("events.out.tfevents.*")], ["0001"])
        self.assertIn(b"val/loss", next(run.glob("events.out.tfevents.*")).read_bytes())

    def test_mlflow_asked_for_on_a_finished_run_names_the_command_that_sends_it(self):
        run, uri = self.folder / "run", "http://127.0.0.1:9"
        self.done("train", *self.small, "--out", run)
        result = self.done("train", "--resume", "--out", run, "--set", f"tracking.mlflow.uri={uri}")
        self.assertIn(f"{BINARY} track push {run} --set tracking.mlflow.uri={uri}", result.err)


class Texts(Case):
    def test_all_of_a_run_with_a_validation_text_is_both_texts(self):
        val, run = self.folder / "val", self.folder / "run"
        val.write_text(self.text.read_text()[:400])
        self.done("train", *self.small, "--set", f"data.val_path={val}", "--out", run)
        tokens = {split: strict_json(self.done("eval", run, "--split", split, "--json").out)["tokens"]
                  for split in ("train", "val", "all")}
        train = len(self.text.read_text())
        self.assertEqual(tokens, {"train": train - 1, "val": 399, "all": train + 400 - 1})

    def test_a_validation_text_that_was_moved_is_taken_where_it_lies_and_another_is_refused(self):
        val, run = self.folder / "val", self.folder / "run"
        val.write_text(self.text.read_text()[:400])
        self.done("train", *self.small, "--set", f"data.val_path={val}", "--out", run)
        moved = val.rename(self.folder / "moved")
        self.done("train", "--resume", "--out", run, "--set", f"data.val_path={moved}", *more(4))
        moved.write_text(self.text.read_text()[:500])
        self.assertEqual(makemoe("train", "--resume", "--out", run, "--set", f"data.val_path={moved}", *more(5)).code, 3)


if __name__ == "__main__":
    main(at_least=0)
