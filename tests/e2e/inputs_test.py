"""Bad command lines, configs, texts and prompts: each is refused in one clear message, and nothing is left behind."""

import json
import os
import pathlib
import shlex
import subprocess

from support import BINARY, CHECKPOINT, DATA, RESOURCES, TINY, USAGE, Case, RunCase, limited, main, makemoe, strict_json

GUARD = limited(AS=3 << 30)  # [bytes] what slips through fails here instead of taking the machine


class Usage(RunCase):
    def refuse(self, code, cases):
        """{label: (arguments, phrases)} in the test's folder, where a stray run would be seen."""
        self.refuse_all(code, cases, cwd=self.folder)

    def test_a_mistyped_word_is_named_with_the_nearest_one(self):
        run = self.run_folder
        self.refuse(USAGE, {" ".join(map(str, a)): (a, says) for a, says in {
            ("trian",): 'makemoe: "trian" is not a command; did you mean "train"?',
            ("trian", "--config", TINY): '"trian" is not a command',
            ("gen", run): 'did you mean "',
            ("chat", run): "give one of train, eval, generate",
            ("config", "chek", TINY): 'makemoe config: "chek" is not a command; did you mean "check"?',
            ("--verison",): "makemoe: --verison is not an option; did you mean --version?",
            ("train", "--confg", TINY): "makemoe train: --confg is not an option; did you mean --config?",
            ("train", "--lr=3"): f"makemoe train: --lr is not an option; see {BINARY} train --help",
            ("train", "-x"): "-x is not an option",
            ("train", TINY): "one argument too many",
            ("generate", run, "--temprature", "2"): "did you mean --temperature?",
            ("generate", "--temprature", "2", run): "did you mean --temperature?",
            ("generate", run, "--temp=2"): "did you mean --temperature?",
            ("generate", run, "--max_new_tokens", "2"): "did you mean --max-new-tokens?",
            ("generate", run, "ROMEO:"): 'makemoe generate: "ROMEO:" is one argument too many; put a text with spaces in quotes',
            ("eval", run, "--jsn"): "did you mean --json?",
            ("config", "check", TINY, TINY): "one argument too many",
            ("\x1b[31m",): '"\\x1b[31m" is not a command',
            ("x" * 100_000,): "is not a command",
            ("--" + "x" * 100_000,): "is not an option",
        }.items()})

    def test_hints_name_the_program_as_it_was_called_and_can_be_pasted(self):
        run, uri = self.folder / "it's a run", "http://127.0.0.1:9"
        self.done("train", *self.small, "--out", run)
        said = self.done("train", "--resume", "--out", run, "--set", f"tracking.mlflow.uri={uri}").err
        hint = said.partition("send it with: ")[2].splitlines()[0]
        self.assertEqual(shlex.split(hint), [BINARY, "track", "push", str(run), "--set", f"tracking.mlflow.uri={uri}"])
        binary = pathlib.Path(BINARY)
        for program, cwd in ((f"./{binary.name}", binary.parent), (f"../{binary.parent.name}/{binary.name}", binary.parent)):
            said = subprocess.run([program, "train", "--lr"], cwd=cwd, capture_output=True, text=True)
            self.assertIn(f"see {program} train --help", said.stderr)
        said = subprocess.run(["makemoe", "train", "--lr"], executable=BINARY, capture_output=True, text=True,
                              env={**os.environ, "PATH": str(binary.parent)})
        self.assertIn("see makemoe train --help", said.stderr)

    def test_what_is_missing_is_named(self):
        run = self.run_folder
        self.refuse(USAGE, {" ".join(map(str, a)): (a, says) for a, says in {
            ("generate",): "checkpoint is required", ("eval", "--json"): "checkpoint is required",
            ("config", "check"): "file is required", ("import",): "required", ("import", "w", "--config", TINY): "--out is required",
            ("export", run): "--out is required", ("train", "--config"): "--config needs a value",
            ("generate", run, "--seed"): "--seed needs a value", ("train", "--resume"): "--out",
            ("train", "--resume", "--out", "made"): "there is no run in made",
            ("generate", run, "--prompt", "a", "--prompt-file", "b"): "--prompt excludes --prompt-file",
            ("import", "w", "--config", TINY, "--out", "x", "--data", "a", "--vocab", "b"): "excludes",
            ("import", self.last / "model.safetensors", "--config", TINY, "--out", "x"): "give --data TEXT or --vocab",
        }.items()})

    def test_a_command_without_its_subcommand_prints_its_usage(self):
        for arguments, says in (((), "Subcommands:"), (("config",), "check"),):
            result = makemoe(*arguments)
            self.assertEqual((result.code, result.out), (USAGE, ""))
            self.assertIn(says, result.err)

    def test_a_number_that_is_none_or_out_of_range_is_refused_with_its_option(self):
        generate, train = ("generate", self.run_folder), ("train", *self.small, "--out", "made")
        options = {
            (*generate, "--max-new-tokens"): ("", "x", "1e3", "2.5", "0x10", "-1", "100000001", "9" * 30, " 3", "3 ", "NaN", "+3"),
            (*generate, "--num-samples"): ("0", "-1", "4097", "1.5", "two"),
            (*generate, "--top-k"): ("-1", "-9223372036854775809", "99999999999999999999", "1.5", "", "all"),
            (*generate, "--seed"): ("-1", "18446744073709551616", "1.5", "", "lucky"),
            (*generate, "--temperature"): ("-1", "-1e-300", "nan", "inf", "-inf", "1e400", "", "hot", "1,5", "0.5x"),
            (*generate, "--top-p"): ("0", "-0.1", "1.0000001", "nan", "inf", "1e400", "", "x"),
            (*generate, "--min-p"): ("-0.1", "1.5", "nan", "-inf", "x"),
            (*generate, "--repetition-penalty"): ("0", "-1", "nan", "inf", "1e400", "x"),
            (*train, "--stop-after"): ("-1", "1.5", "", "1e9", "9223372036854775808", "soon"),
            ("bench", "--steps"): ("0", "-3", "100001", "1.5", "many"),
        }
        self.refuse(USAGE, {f"{arguments[-1]} {value!r}": ((*arguments, value), arguments[-1].strip("-").split("-")[0])
                            for arguments, values in options.items() for value in values})

    def test_a_name_that_is_none_of_those_known_is_refused(self):
        run = self.run_folder
        devices = ("tpu", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA", "cuda:99999999999", " cpu", "auto,cpu")
        cases = {f"generate --device {d!r}": (("generate", run, "--device", d), "device") for d in devices}
        cases |= {f"train --device {d!r}": (("train", *self.small, "--out", "made", "--device", d), "device") for d in devices[:4]}
        cases |= {f"--split {s!r}": (("eval", run, "--split", s), "--split") for s in ("test", "", "TRAIN", "train,val")}
        cases |= {f"--format {s!r}": (("export", run, "--out", "w", "--format", s), "--format") for s in ("gguf", "")}
        empty = {("train", *self.small[2:], "--out", "made"): ("--config", "--data", "--device", "--init-from"), ("train", *self.small): ("--out",),
                 ("eval", run): ("--data", "--device"), ("generate", run): ("--device", "--prompt-file"), ("export", run): ("--out",),
                 ("config", "show"): ("--config",), ("bench",): ("--config",)}
        cases |= {f"{command[0]} with an empty {name}": ((*command, name, ""), (name, "is empty"))
                  for command, names in empty.items() for name in names}
        cases["an empty stop text"] = (("generate", run, "--stop", ""), "--stop")
        cases["--set of a command that has none"] = (("generate", run, "--set", "seed=1"), "is not an option")
        self.refuse(USAGE, cases)
        self.refuse(RESOURCES, {f"--device {d}": (("generate", run, "--device", d), (d, "--device cpu")) for d in ("cuda:99", "cuda:999")})

    def test_a_flag_that_is_given_twice_counts_as_last_given(self):
        once = self.done("generate", self.run_folder, "--seed", 7, "--max-new-tokens", 9)
        twice = self.done("generate", self.run_folder, "--seed", 5, "--max-new-tokens", 3, "--seed", 7, "--max-new-tokens", 9)
        self.assertEqual(once.out, twice.out)


class Config(Case):
    def test_each_bad_value_is_refused_with_its_key(self):
        cases = {
            "model.n_layers=3": "did you mean", "model.n_embed=2.7": "whole number", "seed=true": "whole number", "seed=-1": "out of range",
            "seed=9223372036854775808": "whole number", "seed=\"1\"": "whole number", "seed=null": "whole number", "seed=[1]": "whole number",
            "model.n_head=7": "does not divide", "model.moe.top_k=9": "num_experts", "model.moe.top_k=1": "gradient", "model.moe.top_k=0": "range",
            "model.moe.num_experts=-1": "range", "model.moe.num_experts=0": "without any MLP", "model.moe.num_experts=1025": "range", "model.dropout=1": "out of range",
            "model.dropout=-0.1": "out of range", "model.dropout=nan": "a number", "model.dropout=Infinity": "a number",
            "optim.learning_rate=0": "out of range", "optim.learning_rate=-1e-3": "out of range", "optim.learning_rate=fast": "a number",
            "optim.betas=[0.9]": "pair", "optim.betas=0.9": "pair", "optim.betas=[0.9,1]": "betas[1]", "optim.betas=[true,0.9]": "betas[0]",
            "optim.learning_rate=1e400": "number", "model.init=zeros": "kaiming_normal", "train.max_iters=0": "out of range",
            "train.batch_size=-1": "out of range", "train.batch_size=1048577": "out of range", "data.train_fraction=1": "out of range",
            "data.train_fraction=0": "out of range", "threads=-2": "out of range", "threads=4097": "out of range", "device=tpu": "cuda:N",
            "model.moe.router=x": "noisy_topk", "model.moe=3": "object", "nonsense": "KEY=VALUE", "=3": "KEY=VALUE", "": "KEY=VALUE",
            "data.tokenizer=\"\"": "is empty", "data.vocab_size=256": "range", "eval.mode=half": "full", "a.b.c.d.e.f=1": "unknown key", "train.keep_checkpoints=1": "range",
            "optim.schedule.warmup_iters=99999": "max_iters", "model.moe.capacity_factor=0": "out of range", "model.": "KEY=VALUE",
            "deterministic=1": "true or false", "optim.eps=null": "number", "model.block_size=0": "out of range", "model.=3": "unknown key",
            "model.n_embed=1e3": "whole number", "model.n_embed=" + "9" * 5000: "n_embed", "x" * 5000 + "=1": "unknown key",
            "extends=other.json": "unknown key", "data.path=3": "text in quotes", "\x1b[31m=1": "unknown key", "train.sample_interval=0": "range",
        }
        self.refuse_all(USAGE, {text[:60]: (("config", "show", "--set", text), says) for text, says in cases.items()})

    def test_each_bad_file_is_refused_with_its_place(self):
        cases = {"": "line 1", "{": "ends too early", "[]": "object", "3": "object", "null": "object", '"x"': "object",
                 '{"seed": 1, "seed": 2}': "stands twice", '{"seed": NaN}': "NaN", '{"seed": -Infinity}': "line 1, column",
                 '{"seed": 1} x': "follows", "// hi\n{}": "comments", '{"seed": 1, // hi\n}': "comments", "# hi\n{}": "comments",
                 "\ufeff{}": "byte-order mark", '{"seed": 1,}': "line 1, column 12", "{'seed': 1}": "line 1, column 2",
                 '{"extends": "absent.json"}': "absent.json", '{"extends": 3}': "path", '{"extends": "self.json"}': "circle",
                 '{"extends": "."}': "folder", '{"extends": ["a"]}': "path", "[" * 20000: "nested deeper", '{"a":' * 70 + "1": "nested deeper",
                 '{"model": {"n_layer": "8"}}': "n_layer", '{"seed": 1e999}': "1e999", '{"model": null}': "object", '{"seed": 01}': "line 1",
                 '{"optim": {"betas": [0.9, 1.0]}}': "betas[1]", '{"model": [1]}': "object", '{"seed\\u0000": 1}': "unknown key",
                 '{"\\ud800": 1}': "line 1", b'{"\xff": 1}': "UTF-8", b"\0": "line 1", b"\xff\xfe{\0}\0": "line 1", b"PK\x03\x04": "line 1",
                 " " * (17 << 20): "larger than"}
        commands = {}
        for number, (text, says) in enumerate(cases.items()):
            path = self.folder / ("self.json" if "self" in str(text[:30]) else f"{number}.json")
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            commands[f"{number}: {text[:30]!r}"] = (("config", "check", path), (self.folder, says))
        for name in ("absent.json", "", self.folder, "/dev/null", "x" * 5000):
            commands[f"named {str(name)[:30]}"] = (("config", "check", name), ())
        self.refuse_all(USAGE, commands)

    def test_all_problems_of_a_file_are_reported_at_once(self):
        path = self.folder / "bad.json"
        path.write_text('{"seed": true, "seed": 2,\n "model": {"n_layers": 3, "n_embed": 2.7, "n_head": 7, "moe": {"top_k": 9}},\n'
                        ' "train": {"max_iters": 0, "max_iters": 1}, "device": "tpu", "xdata": 1}')
        self.refuse_all(USAGE, {"nine at once": (("config", "check", path), (
            '"seed" stands twice', '"max_iters" stands twice', "seed: true", "n_layers", "n_embed: 2.7", "max_iters: 0", "xdata", "n_head: 7",
            "top_k: 9", 'device: "tpu"'))})

    def test_a_model_or_batch_beyond_the_memory_is_refused_before_it_is_built(self):
        train = ("train", *self.small, "--out", self.folder / "made")
        huge = {"a wide model": ("model.n_embed=16384", "model.n_layer=512"), "many experts": ("model.n_embed=2048", "model.moe.num_experts=1024"),
                "a large batch": ("train.batch_size=1048576",), "a long context": ("model.block_size=65536", "train.batch_size=4096")}
        cases = {}
        for label, keys in huge.items():
            sets = [part for key in keys for part in ("--set", key)]
            says = "lower model.n_embed" if "batch_size" not in keys[-1] else "lower train.batch_size"  # of the largest part
            if "context" not in label:
                cases[f"train {label}"] = ((*train, *sets), says)
            cases[f"bench {label}"] = (("bench", "--config", TINY, *sets), says)
        self.refuse_all(RESOURCES, cases, preexec_fn=GUARD)


class Texts(Case):
    def test_a_text_that_can_not_be_learned_from_is_refused_with_its_name(self):
        play = self.text.read_bytes()
        texts = {"empty": (b"", "is empty"), "a BOM alone": (b"\xef\xbb\xbf", "is empty"), "one symbol": (b"a" * 400, "one single symbol, \"a\""),
                 "too short": (play[:60], "model.block_size + 1 = 17"), "one too few": (b"ab" * 80, "model.block_size + 1 = 17"),
                 "latin-1": ("é".encode("latin-1") + play, "byte 0"), "a lone byte at the end": (play + b"\xff", f"byte {len(play)}"),
                 "an overlong slash": (play[:9] + b"\xc0\xaf" + play, "byte 9"), "a surrogate": (b"ab\xed\xa0\x80" + play, "byte 2"),
                 "beyond Unicode": (play + b"\xf4\x90\x80\x80", f"byte {len(play)}"), "cut in a symbol": (play + b"\xe2\x98", f"byte {len(play)}"),
                 "UTF-16": (b"\xff\xfe" + play.decode().encode("utf-16-le"), "iconv -f UTF-16 -t UTF-8"), "a binary": (b"\x7fELF\x02\x01\x80\x81" + play, "byte 6")}
        cases = {}
        for label, (content, says) in texts.items():
            path = self.folder / label
            path.write_bytes(content)
            small = [a if a != self.text else path for a in self.small]
            cases[label] = (("train", *small, "--out", self.folder / "made"), (path, says))
            if label in ("too short", "one too few", "one symbol"):
                continue  # enough to validate on
            cases[f"{label}, to validate on"] = (("train", *self.small, "--set", f"data.val_path={path}", "--out", self.folder / "made"),
                                                 (path, says))
        for name in ("absent", self.folder, "/dev/null", "/dev/null/x", "x" * 5000):
            small = [a if a != self.text else name for a in self.small]
            cases[f"named {str(name)[:20]}"] = (("train", *small, "--out", self.folder / "made"), str(name)[:200])
        foreign = self.folder / "foreign"
        foreign.write_text(self.text.read_text() + "☃")
        cases["symbols to validate on that are not in the text"] = (
            ("train", *self.small, "--set", f"data.val_path={foreign}", "--out", self.folder / "made"), (foreign, "U+2603"))
        cases["no text"] = (("train", "--config", TINY, "--out", self.folder / "made"), "--data FILE")
        self.refuse_all(DATA, cases)

    def test_a_text_of_two_symbols_trains_and_one_with_a_mark_and_line_ends_is_mended_with_a_notice(self):
        for content, says in ((b"ab" * 200, ""), (b"\xef\xbb\xbf" + self.text.read_bytes().replace(b"\n", b"\r\n"), "byte-order mark")):
            path = self.folder / "text"
            path.write_bytes(content)
            out = self.folder / f"run-{len(says)}"
            result = self.done("train", *[a if a != self.text else path for a in self.small], "--out", out)
            self.assertIn(says, result.err)
            self.done("generate", out, "--max-new-tokens", 5)
        self.assertIn("folded to LF", result.err)
        self.assertNotIn("\r", json.loads((out / "tokenizer.json").read_text())["model"]["vocab"])


class Prompts(RunCase):
    def test_a_prompt_that_the_model_can_not_read_is_refused_with_its_source(self):
        run = self.run_folder
        prompts = {"a snowman": ("snow ☃", "'☃' (U+2603)"), "a control character": ("\x1b[31m", "U+001B"), "not UTF-8": (b"a\xffb", "byte 1"),
                   "a line end of another system": ("a\r\nb", "U+000D"), "many unknown": ("".join(map(chr, range(0x400, 0x500))), "and others"),
                   "an overlong one": (b"\xc0\x80", "byte 0"), "a surrogate": (b"\xed\xa0\x80", "byte 0")}
        cases = {label: (("generate", run, "--prompt", prompt), ("--prompt: ", says)) for label, (prompt, says) in prompts.items()}
        for label, content, says in (("a snowman", "☃".encode(), "U+2603"), ("not UTF-8", b"ab\xff", "byte 2"), ("a NUL", b"a\0", "U+0000")):
            path = self.folder / f"prompt of {label}"
            path.write_bytes(content)
            cases[f"{label} in a file"] = (("generate", run, "--prompt-file", path), (path, says))
        for name in ("absent", self.folder, "x" * 5000):
            cases[f"file {str(name)[:20]}"] = (("generate", run, "--prompt-file", name), str(name)[:200])
        self.refuse_all(DATA, cases)
        for content, says in ((b"a\xff", "standard input: byte 1"), ("☃".encode(), "standard input: '☃'"), (b"a" * (65 << 20), "larger than 67.1 MB")):
            self.assert_refused(makemoe("generate", run, "--prompt-file", "-", input=content), DATA, says)

    def test_prompts_that_need_no_refusal_are_taken(self):
        run = ("generate", self.run_folder, "--max-new-tokens", 4, "--seed", 3, "--json")

        def prompt(*arguments, **options):
            return strict_json(self.done(*run, *arguments, **options).out)["samples"][0]["prompt"]
        self.assertEqual(prompt(), "")
        self.assertEqual(prompt("--prompt", ""), "")
        self.assertEqual(prompt("--prompt", "--help"), "--help")
        self.assertEqual(prompt("--prompt-file", "-", input=b""), "")
        self.assertEqual(prompt("--prompt-file", "-", input=b"the\r\nsea\n"), "the\nsea\n")
        marked = self.folder / "a prompt\n☃"
        marked.write_bytes(b"\xef\xbb\xbfsea")
        self.assertEqual(prompt("--prompt-file", marked), "sea")
        self.assertIn("the model sees the last 16", self.done(*run, "--prompt", "the sea " * 9).err)
        everything = self.done(*run, "--top-k", 10**18)
        self.assertEqual(strict_json(everything.out)["samples"], strict_json(self.done(*run).out)["samples"])

    def test_a_text_to_evaluate_that_does_not_fit_is_refused(self):
        cases = {}
        for label, content in {"empty": b"", "one symbol": b"a", "not UTF-8": b"ab\xff", "unknown symbols": "a☃".encode()}.items():
            path = self.folder / label
            path.write_bytes(content)
            cases[label] = (("eval", self.run_folder, "--data", path), path)
        cases["absent"] = (("eval", self.run_folder, "--data", "absent"), "absent")
        cases["a split of nothing"] = (("eval", self.run_folder, "--data", self.folder / "one symbol", "--split", "val"), "one symbol")
        self.refuse_all(DATA, cases)
        self.refuse_all(USAGE, {text: (("eval", self.run_folder, "--set", text), says) for text, says in {
            "eval.mod=full": "did you mean", "eval.mode=x": "full", "eval.eval_iters=0": "range", "seed": "KEY=VALUE"}.items()})
        self.refuse_all(CHECKPOINT, {"another model": (("eval", self.run_folder, "--set", "model.n_layer=2"), "differences")})


if __name__ == "__main__":
    main(at_least=120)
