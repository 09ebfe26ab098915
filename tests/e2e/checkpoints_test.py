"""Hostile checkpoints: each is refused with the file that is wrong in it, before it harms."""

import json
import os
import shutil

from support import (CHECKPOINT, CHECKPOINT_FILES, DATA, RESOURCES, STEPS, TINY, RunCase, limited, makemoe,
                     main, read_safetensors, reseal, seal, strict_json, together, tree)

GUARD = limited(AS=3 << 30)  # [bytes] what slips through fails here instead of taking the machine


class Truncated(RunCase):
    def test_a_checkpoint_cut_or_grown_to_any_length_is_refused_with_its_file(self):
        cases = {}
        for name in (*CHECKPOINT_FILES, "manifest.json"):
            content = self.last.joinpath(name).read_bytes()
            for size in (0, 9, len(content) // 2, len(content) - 1, len(content) + 1):
                folder = self.copy_of_checkpoint(f"{name}-{size}")
                folder.joinpath(name).write_bytes((content + b"x")[:size])
                cases[f"{name} of {size} bytes"] = (("info", folder), folder / name)
        self.refuse_all(CHECKPOINT, cases)

    def test_a_checkpoint_with_a_flipped_bit_is_refused_with_its_file_and_tensor(self):
        cases = {}
        for name in ("model.safetensors", "optimizer.safetensors"):
            content = self.last.joinpath(name).read_bytes()
            header, data = read_safetensors(content)
            tensors = [n for n in header if n != "__metadata__"]
            for tensor in tensors[:: max(1, len(tensors) // 4)]:
                begin, end = header[tensor]["data_offsets"]
                cases[f"{name}, {tensor}"] = (name, len(content) - len(data) + (begin + end) // 2, tensor)
            for at in (0, 8, 100, len(content) - len(data) - 1):
                cases[f"{name}, header byte {at}"] = (name, at, "")
        for name in ("state.json", "config.json", "tokenizer.json", "manifest.json"):
            size = self.last.joinpath(name).stat().st_size
            for at in (0, size // 2, size - 1):
                cases[f"{name}, byte {at}"] = (name, at, "")
        commands = {}
        for number, (label, (name, at, tensor)) in enumerate(cases.items()):
            folder = self.copy_of_checkpoint(str(number))
            content = bytearray(folder.joinpath(name).read_bytes())
            content[at] ^= 1 << number % 8
            folder.joinpath(name).write_bytes(content)
            commands[label] = (("info", folder), (folder / name, tensor))
        self.refuse_all(CHECKPOINT, commands)

    def test_a_missing_file_is_refused_with_its_name(self):
        cases = {}
        for name in CHECKPOINT_FILES:
            folder = self.copy_of_checkpoint(f"without-{name}")
            folder.joinpath(name).unlink()
            cases[name] = (("info", folder), folder / name)
            folder = self.copy_of_checkpoint(f"folder-{name}")
            folder.joinpath(name).unlink()
            folder.joinpath(name).mkdir()
            cases[f"{name} is a folder"] = (("info", folder), folder / name)
        self.refuse_all(CHECKPOINT, cases)


class Manifest(RunCase):
    """Manifests that fit themselves: their checksum is right, what they say is not."""

    def hostile(self):
        """{label: change of the manifest, or its text}."""
        def files(**changes):
            def change(manifest):
                for name, value in changes.items():
                    manifest["files"][name.replace("__", ".")] = value
            return change

        def entry(**changes):
            return lambda manifest: manifest["files"]["state.json"].update(changes)

        def without(*path):
            def change(manifest):
                for key in path[:-1]:
                    manifest = manifest[key]
                del manifest[path[-1]]
            return change

        def value(key, value):
            return lambda manifest: manifest.__setitem__(key, value)

        def also(name):
            """One more file, whose size and sum are right wherever the name leads."""
            def change(manifest):
                manifest["files"][name] = dict(manifest["files"]["state.json"])
            return change

        outside = self.home / "outside"
        outside.write_bytes(self.last.joinpath("state.json").read_bytes())
        cases = {f"without {name}": without("files", name) for name in CHECKPOINT_FILES}
        cases |= {f"a file named {json.dumps(name)}": also(name) for name in (
            "../state.json", "..", ".", "", "/etc/passwd", str(outside), "a/../state.json", "./state.json", "state.json/",
            "..\\state.json", "state.json\0", "absent.json", "\n")}
        cases |= {f"without {key}": without(key) for key in ("format_version", "step", "files", "tensors")}
        cases |= {f"files is {json.dumps(v)}": value("files", v) for v in (None, [], {}, "x", 3)}
        cases |= {f"tensors is {json.dumps(v)}": value("tensors", v) for v in (None, [], "x")}
        cases |= {f"step is {json.dumps(v)}": value("step", v) for v in (None, -1, 1.5, "3", 1 << 63, 1 << 64, STEPS + 1)}
        cases |= {f"format_version is {json.dumps(v)}": value("format_version", v) for v in (0, -1, 1.5, "1", None, [1])}
        cases |= {f"state.json is {json.dumps(v)}": files(state__json=v) for v in (None, [], {}, 3)}
        cases |= {f"size is {json.dumps(v)}": entry(size=v) for v in (None, -1, 1.5, "9", 1 << 63, (1 << 64) - 1, 0)}
        cases |= {f"sha256 is {json.dumps(v)}": entry(sha256=v) for v in (None, 5, "", "00" * 32, [])}
        cases |= {f"the text {text[:12]!r}": text for text in (
            "", "{}", "[]", "null", "{" * 10_000, '{"checksum": 3}', '{"checksum": ""}', seal({}), "\0", "\ufeff{}")}
        return cases

    def test_a_manifest_that_fits_itself_but_nothing_else_is_refused(self):
        cases = {}
        for number, (label, change) in enumerate(self.hostile().items()):
            folder = self.copy_of_checkpoint(str(number))
            if callable(change):
                reseal(folder, change)
            else:
                folder.joinpath("manifest.json").write_text(change)
            cases[label] = (("info", folder), folder)
        self.refuse_all(CHECKPOINT, cases)

    def test_another_seal_is_refused(self):
        manifest = json.loads(self.last.joinpath("manifest.json").read_text())
        cases = {}
        for number, checksum in enumerate((None, "", 0, "0" * 64, manifest["checksum"].upper(), [manifest["checksum"]])):
            folder = self.copy_of_checkpoint(str(number))
            folder.joinpath("manifest.json").write_text(json.dumps({**manifest, "checksum": checksum}, indent=1) + "\n")
            cases[repr(checksum)] = (("info", folder), folder / "manifest.json")
        self.refuse_all(CHECKPOINT, cases)

    def test_a_newer_format_is_refused_with_both_versions(self):
        folder = self.copy_of_checkpoint("newer")
        reseal(folder, lambda manifest: manifest.__setitem__("format_version", 73))
        self.refuse_all(CHECKPOINT, {c: ((c, folder), ("73", "1", "newer")) for c in ("info", "eval", "generate")})

    def test_a_newest_checkpoint_with_a_hostile_manifest_is_passed_over_on_resume(self):
        for number, label in enumerate(("without model.safetensors", "files is null", "size is -1")):
            run = self.folder / str(number)
            shutil.copytree(self.run_folder, run)
            reseal(run / "checkpoints" / self.last.name, self.hostile()[label])
            result = self.done("train", "--resume", "--out", run)
            self.assertIn(self.last.name, result.err)
            self.assertIn("falling back", result.err)
            self.assert_same_end(run, self.run_folder)

    def test_a_checkpoint_under_the_name_of_another_step_does_not_stand_for_it(self):
        run, checkpoint = self.copy_of_run()
        checkpoint.rename(checkpoint.with_name("step-00000777"))
        self.refuse_all(CHECKPOINT, {"resume": (("train", "--resume", "--out", run), f"step-00000777: holds step {STEPS}")})


class Contents(RunCase):
    """Files that fit their manifest and hold nonsense."""

    def sealed(self, name, file, content):
        run, checkpoint = self.copy_of_run(name)
        checkpoint.joinpath(file).write_bytes(content if isinstance(content, bytes) else content.encode())
        reseal(checkpoint)
        return run, checkpoint

    def test_a_hostile_state_is_refused_on_resume_and_changes_nothing(self):
        state = json.loads(self.last.joinpath("state.json").read_text())
        texts = {"": "", "list": "[]", "null": "null", "object": "{}", "deep": "[" * 10_000, "twice": '{"step": 3, "step": 3}',
                 "NaN": '{"step": NaN}', "1e400": '{"step": 1e400}', "binary": "\0\1\2"}
        for key in ("step", "tokens", "best_step", "best_val_loss", "last_val_loss", "evaluations_without_best", "data",
                    "data_sha256", "threads", "device", "times"):
            texts[f"no {key}"] = json.dumps({k: v for k, v in state.items() if k != key})
        for key, values in {"step": (-1, 1.5, "3", None, 1 << 63, 1 << 64, True), "tokens": (-1, "x", 2.5, 1 << 64),
                            "best_step": ("x", 1 << 64, -9), "best_val_loss": ("NaN", True, []), "data": ([], None, "x"),
                            "evaluations_without_best": (-1, "x"), "threads": ("x", -1, None), "device": (3, None),
                            "times": (None, [], {}, {"seconds": "x"}), "data_sha256": (3, None)}.items():
            for value in values:
                texts[f"{key} {value}"] = json.dumps({**state, key: value})
        for key, value in (("drawn", -1), ("drawn", "x"), ("drawn", 1.5), ("drawn", 1 << 64), ("epoch", -2), ("epoch", None),
                           ("in_epoch", -1)):
            texts[f"data.{key} {value}"] = json.dumps({**state, "data": {**state["data"], key: value}})
        texts["data without drawn"] = json.dumps({**state, "data": {}})
        cases = {}
        for number, (label, text) in enumerate(texts.items()):
            run, checkpoint = self.sealed(str(number), "state.json", text)
            cases[label] = (("train", "--resume", "--out", run, "--set", f"train.max_iters={STEPS + 1}"), "state.json")
        self.refuse_all(CHECKPOINT, cases)

    def test_a_data_cursor_beyond_its_epoch_does_no_harm(self):
        run = self.folder / "epochs"
        self.assertEqual(self.train_small(run, "--set", "data.order=epoch").code, 0)
        checkpoint = run / "checkpoints" / self.last.name
        state = json.loads(checkpoint.joinpath("state.json").read_text())
        for other in (run / "checkpoints").glob("step-*"):
            if other != checkpoint:
                shutil.rmtree(other)
        for number, cursor in enumerate(({"in_epoch": 10**15}, {"epoch": 2**62}, {"epoch": 0, "in_epoch": 2**63 - 1},
                                         {"drawn": 2**63 - 1})):
            with self.subTest(cursor):
                copy = self.folder / str(number)
                shutil.copytree(run, copy)
                hostile = copy / "checkpoints" / checkpoint.name
                hostile.joinpath("state.json").write_text(json.dumps({**state, "data": {**state["data"], **cursor}}))
                reseal(hostile)
                result = makemoe("train", "--resume", "--out", copy, "--set", f"train.max_iters={STEPS + 1}")
                self.assert_clean(result)
                self.assertIn(result.code, (0, CHECKPOINT), result)

    def test_a_hostile_config_in_a_checkpoint_is_refused(self):
        config = json.loads(self.last.joinpath("config.json").read_text())

        def model(**changes):
            return json.dumps({**config, "model": {**config["model"], **changes}})

        texts = {"": "", "list": "[]", "null": "null", "deep": "[" * 10_000, "unknown key": json.dumps({**config, "x": 1}),
                 "no layers": model(n_layer=0), "a layer in quotes": model(n_layer="1"), "half a layer": model(n_layer=1.5),
                 "2^63 layers": model(n_layer=1 << 63), "n_head": model(n_head=5), "kernels": model(kernels="slow"),
                 "dropout": model(dropout=1.0), "model is a list": json.dumps({**config, "model": []}),
                 "extends": json.dumps({"extends": "/etc/passwd"}), "1e400": '{"seed": 1e400}'}
        cases = {}
        for number, (label, text) in enumerate(texts.items()):
            _, checkpoint = self.sealed(str(number), "config.json", text)
            cases[label] = (("generate", checkpoint, "--max-new-tokens", 1), "config.json")
        self.refuse_all(CHECKPOINT, cases)
        cases = {}
        for label, text in {"another width": model(n_embed=64), "another depth": model(n_layer=2),
                            "another context": model(block_size=8)}.items():
            _, checkpoint = self.sealed(label, "config.json", text)
            cases[label] = (("generate", checkpoint, "--max-new-tokens", 1), ("model.safetensors", "differences"))
        self.refuse_all(CHECKPOINT, cases)

    def test_a_config_of_a_huge_model_is_refused_before_it_is_built(self):
        config = json.loads(self.last.joinpath("config.json").read_text())
        cases = {}
        for n_embed, n_layer, experts in ((16384, 512, 1024), (8192, 100, 64), (2048, 8, 64), (32, 512, 1024)):
            changed = {**config, "model": {**config["model"], "n_embed": n_embed, "n_layer": n_layer,
                                           "moe": {**config["model"]["moe"], "num_experts": experts}}}
            _, checkpoint = self.sealed(f"{n_embed}-{n_layer}", "config.json", json.dumps(changed))
            for command in ("generate", "eval"):
                cases[f"{command} {n_embed} {n_layer}"] = ((command, checkpoint), ())
        self.refuse_all((CHECKPOINT, RESOURCES), cases, preexec_fn=GUARD)

    def hostile_tokenizers(self):
        tokenizer = json.loads(self.last.joinpath("tokenizer.json").read_text())
        vocab = tokenizer["model"]["vocab"]
        symbols = list(vocab)

        def with_vocab(vocab):
            return json.dumps({**tokenizer, "model": {**tokenizer["model"], "vocab": vocab}}, ensure_ascii=False)

        return {"": "", "list": "[]", "null": "null", "object": "{}", "deep": '{"model":' * 10_000, "no model": '{"version": "1.0"}',
                "model is a list": '{"model": []}', "no vocab": '{"model": {}}', "empty vocab": with_vocab({}),
                "vocab is a list": with_vocab(symbols), "an id of -1": with_vocab({**vocab, symbols[0]: -1}),
                "an id of 2^31": with_vocab({**vocab, symbols[-1]: 1 << 31}), "an id of 0.5": with_vocab({**vocab, symbols[0]: 0.5}),
                "an id in quotes": with_vocab({**vocab, symbols[0]: "0"}), "an id twice": with_vocab({**vocab, symbols[1]: 0}),
                "an id left out": with_vocab({s: i + (i > 2) for i, s in enumerate(symbols)}),
                "two symbols in one": with_vocab({**vocab, "zz": len(vocab)}), "no symbol": with_vocab({"": 0}),
                "out of order": with_vocab({s: i for i, s in enumerate(reversed(symbols))}),
                "a symbol twice": '{"model": {"vocab": {"a": 0, "a": 1}}}',
                "a lone surrogate": '{"model": {"vocab": {"\\ud800": 0}}}',
                "merges": json.dumps({**tokenizer, "model": {**tokenizer["model"], "merges": ["a b"]}}),
                "not UTF-8": b'{"model": {"vocab": {"\xff": 0}}}'}

    def test_a_hostile_tokenizer_in_a_checkpoint_is_refused(self):
        cases = {}
        for number, (label, text) in enumerate(self.hostile_tokenizers().items()):
            _, checkpoint = self.sealed(str(number), "tokenizer.json", text)
            cases[label] = (("generate", checkpoint, "--max-new-tokens", 1), "tokenizer.json")
        self.refuse_all(CHECKPOINT, cases)

    def test_a_hostile_tokenizer_is_refused_by_import(self):
        cases = {}
        for number, (label, text) in enumerate(list(self.hostile_tokenizers().items())[::3]):  # one reader
            vocabulary = self.folder / f"{number}.json"
            vocabulary.write_bytes(text if isinstance(text, bytes) else text.encode())
            cases[label] = (("import", self.last / "model.safetensors", "--config", TINY, "--vocab", vocabulary,
                             "--out", self.folder / f"{number}-out"), vocabulary)
        self.refuse_all(DATA, cases)

    def test_a_vocabulary_of_another_size_is_refused(self):
        tokenizer = json.loads(self.last.joinpath("tokenizer.json").read_text())
        symbols = list(tokenizer["model"]["vocab"])
        cases = {}
        for label, kept in {"fewer": symbols[:-1], "more": [*symbols, "\U0010ffff"], "one": symbols[:1]}.items():
            tokenizer["model"]["vocab"] = {s: i for i, s in enumerate(kept)}
            _, checkpoint = self.sealed(label, "tokenizer.json", json.dumps(tokenizer))
            cases[label] = (("generate", checkpoint, "--max-new-tokens", 1), ("lm_head", "token_embedding_table"))
        self.refuse_all(CHECKPOINT, cases)

    def test_symbols_that_the_vocabulary_lacks_are_refused_and_named(self):
        text = self.text.read_text()
        other = self.folder / "other"
        cases = {}
        for label, (changed, says) in {
            "more symbols": (text + "☃é", ("☃", "U+2603", "U+00E9")),
            "others": (text.replace("e", "Ж"), "U+0416"),
        }.items():
            other = self.folder / label
            other.write_text(changed)
            arguments = [a if a != self.text else other for a in self.small]
            cases[label] = (("train", *arguments, "--init-from", self.run_folder, "--out", self.folder / f"{label}-out"), says)
        self.refuse_all(CHECKPOINT, cases)
        self.refuse_all(DATA, {f"eval: {label}": (("eval", self.run_folder, "--data", self.folder / label), says)
                               for label, says in (("more symbols", "U+2603"), ("others", "U+0416"))})

    def test_weights_of_another_shape_are_not_taken_to_begin_with(self):
        cases = {key: (("train", *self.small, "--set", f"{key}={value}", "--init-from", self.run_folder, "--out",
                        self.folder / f"{key}-out"), says)
                 for key, value, says in (("model.n_embed", 64, "(64"), ("model.n_layer", 2, "blocks.1."),
                                          ("model.moe.num_experts", 5, "experts.4"))}
        refusal = makemoe(*cases["model.n_embed"][0]).err.splitlines()
        self.assertEqual([line[:17] for line in refusal[1:3]], ["model.n_embed: 32", '  "blocks.0.ln1.b'], "keys first")
        self.assertEqual(len(refusal), 13)
        self.assertRegex(refusal[-1], r"^  and \d+ more$")
        cases["told beforehand"] = (("train", *self.small, "--set", "model.n_embed=64", "--init-from", self.run_folder, "--dry-run"), "model.n_embed")
        for number, name in enumerate(("absent", f"{self.run_folder}@99", self.folder)):
            cases[str(name)] = (("train", *self.small, "--init-from", name, "--out", self.folder / str(number)), str(name).split("@")[0])
        self.refuse_all(CHECKPOINT, cases)


class Names(RunCase):
    def test_what_names_no_checkpoint_is_refused(self):
        run = self.run_folder
        empty = self.folder / "step-00000009"
        empty.mkdir()
        names = [self.folder / "absent", self.folder, empty, f"{run}@99", f"{run}@-1", f"{run}@", f"{run}@x", f"{run}@best/..",
                 f"{run}@1e3", f"{run}@99999999999999999999", f"{run}@../..", run / "checkpoints", run / "run.json", "/dev/null",
                 "", "@", "@best", "x" * 5000, b"\xff\xfe", "\x1b[31m", self.last / "state.json", f"{self.last}@best"]
        self.refuse_all(CHECKPOINT, {repr(name): (("info", name), ()) for name in names})

    def test_hints_are_only_hints(self):
        steps = {}
        for number, content in enumerate((b"", b"step-99999999\n", b"../../outside\n", b"\xff\0" * 50, b"x" * 5000, None, "folder")):
            run = self.folder / str(number)
            shutil.copytree(self.run_folder, run)
            for name in ("best", "last"):
                hint = run / "checkpoints" / name
                hint.unlink()
                if content == "folder":
                    hint.mkdir()
                elif content is not None:
                    hint.write_bytes(content)
            steps[run] = content
        for run, result in zip(steps, together(lambda run: makemoe("info", run, "--json"), steps)):
            with self.subTest(steps[run]):
                self.assertEqual(result.code, 0, result)
                self.assertEqual(strict_json(result.out)["step"], STEPS)
        for run, result in zip(steps, together(lambda run: makemoe("train", "--resume", "--out", run), steps)):
            with self.subTest(steps[run], command="resume"):
                self.assertEqual(result.code, 0, result)

    def test_stray_entries_among_the_checkpoints_are_passed_over(self):
        run, _ = self.copy_of_run()
        folder = run / "checkpoints"
        for name in (".tmp-step-00000009", ".tmp-old-5", "step-", "step-x", "step-1e3", "step--1", "notes"):
            (folder / name).mkdir()
        (folder / "step-00000008").write_text("a file")
        (folder / "step-00000007").symlink_to(folder / "absent")
        self.assertEqual(strict_json(self.done("info", run, "--json").out)["step"], STEPS)
        (folder / "step-00000777").mkdir()
        newest = self.done("info", f"{run}@last", "--json")
        self.assertIn("step-00000777", newest.err)
        self.assertEqual(strict_json(newest.out)["step"], STEPS)
        self.assert_refused(makemoe("info", f"{run}@777"), CHECKPOINT, "step-00000777")
        result = self.done("train", "--resume", "--out", run)
        self.assertIn("step-00000777", result.err)
        self.assert_same_end(run, self.run_folder)

    def test_a_damaged_checkpoint_that_is_named_never_falls_back(self):
        run = self.folder / "run"
        shutil.copytree(self.run_folder, run)
        (run / "checkpoints" / self.last.name / "state.json").write_text("{}")
        before = tree(run)
        self.refuse_all(CHECKPOINT, {name: (("info", f"{run}{name}"), self.last.name)
                                     for name in (f"@{STEPS}", f"/checkpoints/{self.last.name}")})
        self.assertEqual(tree(run), before)
        self.done("info", f"{run}@{STEPS - 1}")

    def test_a_run_whose_checkpoints_are_all_damaged_is_not_trained_anew(self):
        run = self.folder / "run"
        shutil.copytree(self.run_folder, run)
        for checkpoint in (run / "checkpoints").glob("step-*"):
            os.truncate(checkpoint / "model.safetensors", 100)
        self.refuse_all(CHECKPOINT, {"resume": (("train", "--resume", "--out", run), "every checkpoint is damaged")})


if __name__ == "__main__":
    main(at_least=280)
