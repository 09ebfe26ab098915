"""What scripts rely on: streams, JSON objects, names, files, and how CHECKPOINT and --out are read."""

import json
import os
import re
import shutil
import time
import unittest

from support import (NUMERICS, RESOURCES, STEPS, TINY, RunCase, limited, makemoe, start, strict_json, tree, wait_for)

COMMANDS = ("train", "eval", "generate", "info", "inspect", "import", "export", "upcycle", "config", "bench", "report", "track",
            "sweep", "tokenizer", "data", "completion", "man")


def closed(*streams):
    """For preexec_fn: a program that starts with these descriptors closed."""
    def apply():
        for stream in streams:
            os.close(stream)
    return apply


class Streams(RunCase):
    def test_the_version_names_program_commit_libtorch_cuda_and_compiler(self):
        result = self.done("--version")
        self.assertRegex(result.out, r"^makemoe \d+\.\d+\.\d+ \(\w+(-dirty)?\), libtorch 2\.\d+\.\d+\S*, "
                                     r"(no CUDA|CUDA runtime \d+), (gcc|Clang) \d+\.\d+\S*\n$")
        self.assertEqual(result.err, "")

    def test_help_goes_to_standard_output_and_shows_an_example(self):
        for command in ((), *((c,) for c in COMMANDS)):
            for flag in ("--help", "-h"):
                result = self.done(*command, flag)
                self.assertEqual(result.err, "")
                self.assertIn("\n  makemoe ", result.out)
        self.assertNotIn("Start here", self.done("config", "check", "--help").out)

    def test_json_is_one_object_and_nothing_else_with_the_keys_that_are_promised(self):
        run, made = self.run_folder, self.folder / "made"
        keys = {
            ("train", *self.small, "--out", made, "--json"): "run step ended_by best_step val_loss seconds",
            ("train", "--resume", "--out", made, "--json"): "run step ended_by best_step val_loss seconds",
            ("train", *self.small, "--dry-run", "--json"): "config vocab_size parameters active_parameters memory_bytes "
                "device_memory_bytes",
            ("eval", run, "--json"): "checkpoint step split mode stride loss perplexity bits_per_byte tokens expert_load "
                "max_vio gate_mass seconds",
            ("eval", run, "--json", "--logprobs"): "checkpoint step split mode stride loss perplexity bits_per_byte tokens "
                "expert_load max_vio gate_mass logprobs seconds",
            ("generate", run, "--max-new-tokens", 5, "--json"): "samples seed tokens_per_second",
            ("inspect", run, "--json"): "checkpoint step split num_experts top_k tokens symbols layers prompt seconds",
            ("info", run, "--json"): "config step vocab_size parameters active_parameters bytes best_val_loss last_val_loss "
                                     "status",
            ("bench", "--config", TINY, "--set", "threads=1", "--steps", 1, "--json"):
                "train_ms_per_step train_tokens_per_second train_parts_ms eval_tokens_per_second generate_tokens_per_second "
                "generate_1_tokens_per_second generate_32_tokens_per_second threads device peak_memory_bytes machine",
            ("bench", "--config", TINY, "--set", "threads=1", "--steps", 1, "--compare", "--json"):
                "train_ms_per_step train_tokens_per_second train_parts_ms eval_tokens_per_second generate_tokens_per_second "
                "generate_1_tokens_per_second generate_32_tokens_per_second threads device peak_memory_bytes compare machine",
        }
        for command, wanted in keys.items():
            with self.subTest(command[0]):
                self.assertEqual(list(strict_json(self.done(*command).out)), wanted.split())
        sample = strict_json(self.done("generate", run, "--prompt", "the", "--json").out)["samples"][0]
        self.assertEqual(list(sample), ["prompt", "text", "token_ids", "finish"])
        self.assertEqual((sample["prompt"], len(sample["token_ids"]), sample["finish"]), ("the", 500, "length"))
        self.assertEqual(json.loads(self.done("config", "schema").out)["title"], "makemoe config")

    def test_a_failure_prints_no_json(self):
        for command in (("eval", self.folder / "absent"), ("info", self.folder), ("generate", self.run_folder, "--prompt", "☃")):
            result = makemoe(*command, "--json")
            self.assertEqual(result.out, "")
            self.assertTrue(result.err.startswith("error: "))

    def test_nothing_colours_what_is_no_terminal(self):
        for result in (self.done("eval", self.run_folder), self.done("generate", self.run_folder), makemoe("eval", "absent"),
                       self.train_small(self.folder / "run")):
            self.assertNotIn("\x1b", result.out + result.err)
            self.assertNotIn("\r", result.out + result.err)

    def test_a_sample_streams_the_prompt_first_and_is_the_text_of_the_json(self):
        arguments = ("generate", self.run_folder, "--prompt", "the sea", "--seed", 11, "--max-new-tokens", 60)
        sample = strict_json(self.done(*arguments, "--json").out)["samples"][0]
        self.assertEqual(self.done(*arguments).out, "the sea" + sample["text"] + "\n")

    def test_a_seed_that_was_drawn_gives_the_same_text_again(self):
        first = self.done("generate", self.run_folder, "--max-new-tokens", 60)
        seed = re.fullmatch(r"seed (\d+)\n", first.err)[1]
        self.assertEqual(self.done("generate", self.run_folder, "--max-new-tokens", 60, "--seed", seed).out, first.out)

    def test_help_and_version_notice_a_full_disk_and_take_a_closed_pipe_quietly(self):
        with open("/dev/full", "wb") as full:
            for command in (("--help",), ("--version",), ("train", "--help"), ("inspect", self.run_folder)):
                self.assert_refused(makemoe(*command, stdout=full), RESOURCES, "standard output")
        reading, writing = os.pipe()
        os.close(reading)
        for command in (("--help",), ("info", self.run_folder), ("generate", self.run_folder)):
            result = makemoe(*command, stdout=writing)
            self.assertEqual(result.code, 0, result)
            self.assertNotIn("error", result.err)
        os.close(writing)

    def test_streams_that_come_closed_never_become_files_of_the_run(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run, preexec_fn=closed(0, 1, 2)).code, 0)
        self.assertEqual((run / ".lock").read_bytes(), b"")
        self.assert_same_end(run, self.run_folder)
        endless = ("--set", "train.max_iters=100000000", "--set", "train.eval_interval=100000000")
        process = start("train", *self.small, *endless, "--out", self.folder / "running", preexec_fn=closed(2))
        wait_for(lambda: (self.folder / "running" / "metrics.jsonl").exists(), process)
        time.sleep(0.3)
        self.assertRegex((self.folder / "running" / ".lock").read_text(), rf"^pid {process.pid} on \S+ since \S+$")
        process.kill()
        process.communicate()
        before = tree(self.folder)
        self.assert_refused(makemoe("info", run, preexec_fn=closed(1)), RESOURCES, "standard output")
        self.assertEqual(tree(self.folder), before)
        self.assertEqual(makemoe("generate", run, "--prompt-file", "-", preexec_fn=closed(0)).code, 0)


class Runs(RunCase):
    def test_every_way_to_name_a_checkpoint_finds_it(self):
        run, folder = self.run_folder, self.last
        for name, step in ((run, STEPS), (f"{run}/", STEPS), (f"{run}@last", STEPS), (f"{run}@best", STEPS), (f"{run}@{STEPS}", STEPS),
                           (f"{run}@{STEPS - 1}", STEPS - 1), (f"{run}@0000{STEPS}", STEPS), (folder, STEPS), (f"{folder}/", STEPS)):
            self.assertEqual(strict_json(self.done("info", name, "--json").out)["step"], step)

    def test_names_with_spaces_quotes_line_ends_and_other_scripts_work_everywhere(self):
        home = self.folder / 'a "b"\n日本 ☃ %s {}'
        home.mkdir()
        text, run, weights, config = home / "te xt", home / "ru n@5", home / "w.safetensors", home / "c.json"
        shutil.copy(self.text, text)
        config.write_text(json.dumps({"extends": str(TINY), "data": {"path": "te xt"}}))
        small = [a for a in self.small if a not in ("--data", self.text)]
        self.done("train", *[a if a != TINY else config for a in small], "--out", run)
        self.done("train", "--resume", "--out", run)
        self.done("export", run, "--out", weights)
        self.done("import", weights, "--config", run / "config.json", "--vocab", run / "tokenizer.json", "--out", home / "back")
        for command in (("eval", run), ("info", run), ("generate", f"{run}@{STEPS}", "--max-new-tokens", 3), ("config", "check", config)):
            self.done(*command)
        self.assert_same_bytes(run, self.run_folder, STEPS)

    def test_odd_environments_change_nothing(self):
        plain = self.done("eval", self.run_folder).out
        for env in ({"LC_ALL": "de_DE.UTF-8"}, {"LC_ALL": "tr_TR.UTF-8", "LANG": "C"}, {"LC_ALL": "no such"}, {"HOME": "/absent", "TMPDIR": "/absent"},
                    {"PATH": ""}, {"TZ": "Asia/Kathmandu"}, {"COLUMNS": "1"}):
            self.assertEqual(self.done("eval", self.run_folder, env=env).out, plain)

    def test_a_run_without_out_gets_a_folder_of_its_configs_name_and_the_time(self):
        for config, name in ((TINY, "tiny"), (None, "run")):
            small = list(self.small) if config else [*self.small[2:], "--set", "model.n_embed=16"]
            self.done("train", *small, "--stop-after", 0, cwd=self.folder)
            self.assertEqual(len([p for p in (self.folder / "runs").iterdir() if re.fullmatch(name + r"-\d{8}-\d{6}", p.name)]), 1)

    def test_resume_starts_what_is_not_there_yet_and_leaves_at_once_what_is_finished(self):
        run = self.folder / "queued"
        self.assertEqual(self.train_small(run, "--resume").code, 0)
        self.assert_same_end(run, self.run_folder)
        before = tree(run)
        self.assertEqual(self.train_small(run, "--resume").code, 0)
        self.assertEqual(tree(run), before)

    def test_a_stop_adds_no_evaluation(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run, "--set", "train.eval_interval=100", "--stop-after", 2).code, 0)
        self.assertEqual([row["step"] for row in self.timeless_rows(run) if "val/loss" in row], [0])
        self.assertEqual(strict_json((run / "run.json").read_text())["status"], "stopped")

    def test_the_written_config_repeats_the_run(self):
        again = self.folder / "again"
        self.done("train", "--config", self.run_folder / "config.json", "--out", again)
        self.assert_same_end(again, self.run_folder)

    def test_run_json_tells_what_ran_where_on_what_and_how_it_ended(self):
        run = strict_json((self.run_folder / "run.json").read_text())
        self.assertEqual(list(run), "status ended_by version commit libtorch compiler device threads host data start end seconds step best_step "
                                    "best_val_loss".split())
        self.assertEqual(run["ended_by"], "max_iters")
        self.assertEqual((run["status"], run["threads"], run["step"], run["best_step"]), ("finished", 1, STEPS, STEPS))
        self.assertEqual(run["data"]["path"], str(self.text))
        for key in ("start", "end"):
            self.assertRegex(run[key], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_flags_win_over_set_and_set_over_the_file(self):
        config = self.folder / "c.json"
        config.write_text('{"seed": 1, "device": "cuda", "data": {"path": "absent"}}')
        shown = strict_json(self.done("train", "--config", config, "--set", "seed=2", "--set", "data.path=gone", "--data", self.text,
                                      "--device", "cpu", "--dry-run", "--json").out)["config"]
        self.assertEqual((shown["seed"], shown["device"], shown["data"]["path"]), (2, "cpu", str(self.text)))

    def test_an_evaluation_counts_each_target_once_and_takes_the_named_split(self):
        symbols = len(self.text.read_text())
        train = int(0.9 * symbols)
        for arguments, split, tokens in (((), "val", symbols - train - 1), (("--split", "train"), "train", train - 1),
                                         (("--split", "all"), "all", symbols - 1), (("--data", self.text), "all", symbols - 1),
                                         (("--data", self.text, "--split", "val"), "val", symbols - train - 1)):
            result = strict_json(self.done("eval", self.run_folder, *arguments, "--json").out)
            self.assertEqual((result["split"], result["tokens"], result["mode"]), (split, tokens, "full"))

    def test_an_evaluation_says_when_the_runs_own_text_is_another_by_now(self):
        run, text = self.folder / "run", self.folder / "text"
        shutil.copy(self.text, text)
        self.done("train", *[a if a != self.text else text for a in self.small], "--out", run)
        self.assertEqual(self.done("eval", run).err, "")
        text.write_text(text.read_text() + "the")
        self.assertIn("sha256 differs", self.done("eval", run).err)
        self.assertEqual(self.done("eval", run, "--data", text).err, "")

    def test_imported_weights_are_a_run_at_step_0_that_can_be_trained_on(self):
        weights, back = self.folder / "w.safetensors", self.folder / "back"
        config = self.last / "config.json"
        self.done("export", self.run_folder, "--out", weights)
        self.done("import", weights, "--config", config, "--data", self.text, "--out", back)
        self.assertEqual(strict_json(self.done("info", back, "--json").out)["step"], 0)
        self.assertEqual(strict_json(self.done("train", "--resume", "--out", back, "--json").out)["step"], STEPS)
        new = self.folder / "new"
        self.done("train", *self.small, "--init-from", self.run_folder, "--out", new, "--stop-after", 0)
        self.assertTrue((new / "checkpoints" / "step-00000000" / "model.safetensors").read_bytes()
                        == (self.last / "model.safetensors").read_bytes())

    def test_a_checkpoint_opens_in_python_with_safetensors(self):
        try:
            from safetensors.numpy import load_file
        except ImportError as missing:
            self.skipTest(f"no safetensors in Python: {missing}")
        weights, moments = (load_file(self.last / f"{name}.safetensors") for name in ("model", "optimizer"))
        self.assertEqual(sum(w.size for w in weights.values()), strict_json(self.done("info", self.run_folder, "--json").out)["parameters"])
        self.assertEqual(set(moments), {f"{kind}.{name}" for kind in ("exp_avg", "exp_avg_sq") for name in weights} | {"step"})


class Divergence(RunCase):
    def test_a_loss_that_is_not_finite_exits_with_5_and_leaves_the_last_good_checkpoint_and_a_record(self):
        run = self.folder / "run"
        self.train_small(run, "--set", "optim.learning_rate=1e30", "--set", "train.max_iters=9", "--stop-after", 0)
        before = tree(run / "checkpoints")
        result = makemoe("train", "--resume", "--out", run, "--set", "train.eval_interval=9")
        self.assert_refused(result, NUMERICS, (run, "not finite at step", "--init-from"))
        self.assertEqual(tree(run / "checkpoints"), before)
        record = strict_json((run / "nonfinite.json").read_text())
        self.assertGreater(record["step"], 1)
        self.assertEqual(len(record["batch_offsets"][0]), 2)
        self.assertIn("lm_head.weight", record["gradient_norms"])
        self.assertEqual(strict_json((run / "run.json").read_text())["status"], "failed")
        self.done("train", *self.small, "--init-from", run, "--out", self.folder / "new")

    def test_an_evaluation_that_is_not_finite_says_the_same_without_weights_that_are_not_there(self):
        result = self.train_small(self.folder / "run", "--set", "optim.learning_rate=1e30", "--set", "train.max_iters=9")
        self.assert_refused(result, NUMERICS, ("not finite at step", "optim.grad_clip"))
        self.assertNotIn("--init-from", result.err)  # it has saved no checkpoint


class Memory(RunCase):
    def test_an_address_space_of_any_size_ends_clearly(self):
        # Below some size the loader and libtorch's own start fail before main.
        limits = (n << 20 for n in range(100, 3000, 10))
        least = next(n for n in limits if makemoe("--version", preexec_fn=limited(AS=n)).code == 0)
        codes = set()
        for more in range(0, 60, 4):
            # Some 20 MB more than the program alone.
            result = self.train_small(self.folder / str(more), "--set", "model.n_embed=128",
                                      preexec_fn=limited(AS=least + (more << 20)))
            self.assert_clean(result)
            self.assertIn(result.code, (0, RESOURCES), result)
            codes.add(result.code)
        self.assertEqual(codes, {0, RESOURCES})

    def test_weights_of_a_huge_config_are_refused_before_a_model_is_built(self):
        config = self.folder / "huge.json"
        config.write_text('{"model": {"n_embed": 16384, "n_layer": 512}}')
        self.refuse_all(RESOURCES, {"import": (("import", self.last / "model.safetensors", "--config", config, "--vocab",
                                                self.last / "tokenizer.json", "--out", self.folder / "out"), "lower")})


if __name__ == "__main__":
    unittest.main()
