"""Texts of a run: sums decide and names do not, on resume and in fine-tuning; what is no UTF-8 text is named."""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import zipfile

from support import BINARY, CHECKPOINT, DATA, STEPS, TINY, USAGE, Case, RunCase, environment, main, makemoe, reseal, strict_json

SNOWMAN = "☃"


def packed(kind, content):
    """A tar or zip archive with one file."""
    out = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=out, mode="w") as archive:
            entry = tarfile.TarInfo("text.txt")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    else:
        with zipfile.ZipFile(out, "w") as archive:
            for name in (["[Content_Types].xml"] if kind == "docx" else []) + ["word/document.xml" if kind == "docx" else "text.txt"]:
                archive.writestr(name, content)
    return out.getvalue()


class ResumeCase(RunCase):
    def refuse_in_turn(self, code, cases):
        """refuse_all of one case after another, since two commands cannot have one run at once."""
        for label, case in cases.items():
            self.refuse_all(code, {label: case})


class Resumed(ResumeCase):
    """Each test stops a run after its first step and resumes it to the end of the run that never stopped."""

    def begun(self, content=None, *arguments):
        """A run stopped at step 1, and the file of its text."""
        run, text = self.folder / "run", self.folder / "text"
        text.write_bytes(self.text.read_bytes() if content is None else content)
        self.done("train", *self.with_text(text), "--out", run, "--stop-after", 1, *arguments)
        return run, text

    def with_text(self, text):
        return [a if a != self.text else text for a in self.small]

    def with_val(self, name, content="the sea and the lantern and the keeper\n" * 3):
        path = self.folder / name
        path.write_text(content)
        return path

    def test_the_text_with_other_line_ends_or_a_mark_is_the_same_text(self):
        run, text = self.begun()
        crlf = b"\xef\xbb\xbf" + self.text.read_bytes().replace(b"\n", b"\r\n")
        text.write_bytes(crlf)
        self.done("train", "--resume", "--out", run, "--stop-after", 2)
        text.write_bytes(self.text.read_bytes().replace(b"\n", b"\r"))
        self.done("train", "--resume", "--out", run)
        self.assert_same_bytes(run, self.run_folder, STEPS)
        self.assertNotIn("is not the text", makemoe("eval", run).err)

    def test_a_checkpoint_that_knows_the_sum_of_the_file_alone_resumes_with_the_same_text(self):
        crlf = self.text.read_bytes().replace(b"\n", b"\r\n")
        for label, first, then in (("the same file", crlf, crlf), ("with other line ends now", self.text.read_bytes(), crlf)):
            run, text = self.begun(first)
            checkpoint = run / "checkpoints" / "step-00000001"
            state = json.loads((checkpoint / "state.json").read_text())
            del state["text_sha256"]
            (checkpoint / "state.json").write_text(json.dumps(state))
            reseal(checkpoint)
            text.write_bytes(then)
            with self.subTest(label):
                self.done("train", "--resume", "--out", run)
                self.assert_same_bytes(run, self.run_folder, STEPS)
            shutil.rmtree(run)

    def test_a_text_to_validate_on_may_lie_elsewhere_and_may_not_be_another(self):
        val = self.with_val("val")
        run, _ = self.begun(None, "--set", f"data.val_path={val}")
        moved = self.with_val("moved", val.read_text().replace("\n", "\r\n"))
        val.unlink()
        other = self.with_val("other", moved.read_text() + "the end\n")
        resume = ("train", "--resume", "--out", run)
        self.refuse_in_turn(DATA, {"gone": (resume, (val, "--set data.val_path=FILE")),
                                   "another": ((*resume, "--set", f"data.val_path={other}"), (other, "validated", "sha256", "--set data.val_path"))})
        self.refuse_all(USAGE, {"none": ((*resume, "--set", "data.val_path="), "data.val_path")})
        self.done(*resume, "--set", f"data.val_path={moved}")
        self.assertEqual(strict_json((run / "config.json").read_text())["data"]["val_path"], str(moved))

    def test_a_run_and_its_text_may_both_move(self):
        run, text = self.begun()
        (self.folder / "new").mkdir()
        run, text = run.rename(self.folder / "new" / "run"), text.rename(self.folder / "new" / "text")
        self.refuse_all(DATA, {"gone": (("train", "--resume", "--out", run), (self.folder / "text", "is not there", "--data FILE"))})
        self.done("train", "--resume", "--out", "run", "--data", "text", cwd=self.folder / "new")
        self.assert_same_bytes(run, self.run_folder, STEPS)

    def test_a_text_from_a_pipe_is_read_once_and_a_resume_says_what_it_needs(self):
        run = self.folder / "run"
        script = 'exec "$@" --data <(cat "$TEXT") --out "$RUN" --stop-after 1'
        small = [str(a) for a in self.small if a not in ("--data", self.text)]
        done = subprocess.run(["bash", "-c", script, "bash", BINARY, "train", *small], capture_output=True, text=True,
                              env=environment({"TEXT": str(self.text), "RUN": str(run)}), timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("is a pipe", done.stderr)
        self.refuse_in_turn(DATA, {"resume": (("train", "--resume", "--out", run), "--data FILE"),
                                   "eval": (("eval", run), "--data FILE")})
        self.done("train", "--resume", "--out", run, "--data", self.text)
        self.assert_same_bytes(run, self.run_folder, STEPS)

    def test_a_name_that_json_can_not_hold_is_refused_before_the_run_is_made(self):
        name = os.fsencode(self.folder) + b"/t\xe9xt"
        with open(name, "wb") as file:
            file.write(self.text.read_bytes())
        weights = self.folder / "weights.safetensors"
        self.done("export", self.run_folder, "--out", weights)
        imports = ("import", weights, "--config", self.last / "config.json", "--out", self.folder / "made", "--data", name)
        self.refuse_all(DATA, {"train": (("train", *self.with_text(name), "--out", self.folder / "made"), ("t\\xe9xt", "not UTF-8", "ln -s")),
                               "val": (("train", *self.small, "--set", b"data.val_path=" + name, "--out", self.folder / "made"), "not UTF-8"),
                               "import": (imports, "not UTF-8")})
        self.done("eval", self.run_folder, "--data", name)  # nothing is written down

    def test_the_vocabulary_of_a_resumed_run_is_its_own(self):
        run, _ = self.begun()
        text = self.folder / "changed"
        text.write_text(self.text.read_text() + SNOWMAN)
        self.refuse_all(DATA, {"another text": (("train", "--resume", "--out", run, "--data", text), (text, "sha256"))})


class Imported(ResumeCase):
    def imported(self, *arguments):
        weights, run = self.folder / "weights.safetensors", self.folder / "run"
        if not weights.exists():
            self.done("export", self.run_folder, "--out", weights)
        config = json.loads((self.last / "config.json").read_text())
        config["data"]["path"] = ""
        (self.folder / "config.json").write_text(json.dumps(config))
        self.done("import", weights, "--config", self.folder / "config.json", "--out", run, *arguments)
        return run

    def test_a_run_imported_with_a_vocabulary_takes_its_first_text_and_remembers_it(self):
        run = self.imported("--vocab", self.last / "tokenizer.json")
        part = self.folder / "part"
        part.write_text(self.text.read_text()[:900])
        foreign = self.folder / "foreign"
        foreign.write_text(self.text.read_text() + SNOWMAN)
        resume = ("train", "--resume", "--out", run)
        self.refuse_in_turn(DATA, {"no text": (resume, "--data FILE"), "symbols": ((*resume, "--data", foreign), (foreign, "U+2603"))})
        self.done(*resume, "--data", part, "--stop-after", 1)
        self.assertEqual((run / "tokenizer.json").read_text(), (self.run_folder / "tokenizer.json").read_text())
        self.refuse_all(DATA, {"another": ((*resume, "--data", self.text), (self.text, "sha256"))})
        self.done(*resume)

    def test_an_imported_run_that_is_killed_with_its_first_texts_keeps_its_checkpoint(self):
        run = self.imported("--vocab", self.last / "tokenizer.json")
        # As a kill before the next checkpoint leaves it: the config knows both texts, the checkpoint none.
        config = json.loads((run / "config.json").read_text())
        config["data"].update(path=str(self.text), val_path=str(self.text))
        (run / "config.json").write_text(json.dumps(config))
        self.assertEqual(self.done("info", f"{run}@last").err, "")
        self.done("train", "--resume", "--out", run)

    def test_a_run_imported_with_a_text_resumes_with_it_alone(self):
        run = self.imported("--data", self.text)
        other = self.folder / "other"
        other.write_text(self.text.read_text() + "e")
        self.refuse_all(DATA, {"another": (("train", "--resume", "--out", run, "--data", other), "sha256")})
        self.done("train", "--resume", "--out", run)

    def test_a_text_from_a_pipe_is_read_once(self):
        run = self.folder / "piped"
        weights = self.folder / "weights.safetensors"
        self.done("export", self.run_folder, "--out", weights)
        self.done("import", weights, "--config", self.last / "config.json", "--data", "/dev/stdin", "--out", run, input=self.text.read_bytes())
        self.done("train", "--resume", "--out", run, "--data", self.text)


class FineTuned(RunCase):
    def with_text(self, content):
        path = self.folder / "fine"
        path.write_text(content)
        return [a if a != self.text else path for a in self.small]

    def test_a_text_with_some_of_the_symbols_trains_resumes_evaluates_and_samples(self):
        text = self.text.read_text()
        subset = text.replace("e", "").replace("a", "")
        run = self.folder / "run"
        self.done("train", *self.with_text(subset), "--init-from", self.run_folder, "--out", run, "--stop-after", 1)
        self.assertEqual((run / "tokenizer.json").read_text(), (self.run_folder / "tokenizer.json").read_text())
        self.done("train", "--resume", "--out", run)
        self.done("eval", run, "--json")
        self.done("generate", run, "--prompt", "the sea", "--max-new-tokens", 3)

    def test_symbols_that_the_checkpoint_lacks_are_named(self):
        fine = self.with_text(self.text.read_text() + SNOWMAN + "é")
        val = self.folder / "val"
        val.write_text(self.text.read_text() + SNOWMAN)
        self.refuse_all(CHECKPOINT, {
            "in the text": (("train", *fine, "--init-from", self.run_folder, "--out", self.folder / "made"), ("U+2603", "U+00E9", "vocabulary")),
            "in that to validate on": (("train", *self.small, "--set", f"data.val_path={val}", "--init-from", self.run_folder, "--out",
                                        self.folder / "made"), (val, "U+2603"))})

    def test_all_keys_that_give_another_shape_are_named_before_a_folder_is_made(self):
        changed = ("--set", "model.n_embed=64", "--set", "model.block_size=8", "--set", "model.dropout=0.3")
        cases = {"shape": (("train", *self.small, *changed, "--init-from", self.run_folder, "--out", self.folder / "made"),
                           ("model.n_embed: 32 in the run, 64 now", "model.block_size: 16 in the run, 8 now", "(64"))}
        self.refuse_all(CHECKPOINT, cases)
        self.assertNotIn("dropout", makemoe(*cases["shape"][0]).err)

    def test_weights_that_were_taken_over_are_there_to_resume_from_whenever_the_run_ends(self):
        run = self.folder / "run"
        result = makemoe("train", *self.small, "--init-from", self.run_folder, "--out", run, env={"MAKEMOE_TEST_FAULT": "crash@40"})
        self.assertLess(result.code, 0, result)
        self.assertTrue((run / "checkpoints" / "step-00000000").exists())
        self.done("train", "--resume", "--out", run, "--stop-after", 0)
        self.assertTrue((run / "checkpoints" / "step-00000000" / "model.safetensors").read_bytes()
                        == (self.last / "model.safetensors").read_bytes())

    def test_a_dry_run_counts_with_the_vocabulary_of_the_checkpoint(self):
        fine = self.with_text("the sea\n" * 99)
        result = self.done("train", *fine, "--init-from", self.run_folder, "--dry-run", "--json")
        vocabulary = json.loads((self.run_folder / "tokenizer.json").read_text())["model"]["vocab"]
        self.assertEqual(strict_json(result.out)["vocab_size"], len(vocabulary))


class Foreign(RunCase):
    def test_what_is_no_utf8_text_is_named_with_what_to_do(self):
        play = self.text.read_text().replace("—", "-")
        plain = play.encode("ascii", "ignore")
        accented = play + "Café, naïve, déjà vu\n"
        texts = {
            "UTF-16 with a mark": (play.encode("utf-16"), ("UTF-16", "iconv -f UTF-16 -t UTF-8")),
            "UTF-16BE with a mark": (b"\xfe\xff" + play.encode("utf-16-be"), "iconv -f UTF-16 -t UTF-8"),
            "UTF-16LE": (play.encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8"),
            "UTF-16BE": (play.encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8"),
            "UTF-32 with a mark": (play.encode("utf-32"), "iconv -f UTF-32 -t UTF-8"),
            "UTF-32LE": (play.encode("utf-32-le"), "iconv -f UTF-32LE -t UTF-8"),
            "UTF-32BE": (play.encode("utf-32-be"), "iconv -f UTF-32BE -t UTF-8"),
            "gzip": (gzip.compress(plain), "gunzip"), "xz": (lzma.compress(plain), "unxz"), "bzip2": (bz2.compress(plain), "bunzip2"),
            "zstd": (b"\x28\xb5\x2f\xfd" + plain, "unzstd"), "zip": (packed("zip", plain), "unzip"), "tar": (packed("tar", plain), "tar -xf"),
            "docx": (packed("docx", plain), "office"), "PDF": (b"%PDF-1.7\n" + plain, "pdftotext"),
            "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n" + plain, "git lfs pull"),
            "Latin-1": (accented.encode("latin-1", "replace"), ("is not valid UTF-8", "Latin-1", "iconv -f LATIN1 -t UTF-8")),
            "Windows-1252": ((accented + "“quoted”").encode("cp1252", "replace").replace(b"\x9d", b"\x94"), "iconv -f WINDOWS-1252 -t UTF-8"),
            "cut in a symbol": (accented.encode() + b"\xe2\x98", "ends in the middle of a symbol"),
        }
        cases = {}
        for label, (content, says) in texts.items():
            path = self.folder / label
            path.write_bytes(content)
            small = [a if a != self.text else path for a in self.small]
            cases[label] = (("train", *small, "--out", self.folder / "made"), (path, *(says if isinstance(says, tuple) else (says,))))
        for label in ("UTF-16LE", "gzip", "Latin-1"):
            cases[f"{label} as a prompt"] = (("generate", self.run_folder, "--prompt-file", self.folder / label), cases[label][1])
            cases[f"{label} to evaluate"] = (("eval", self.run_folder, "--data", self.folder / label), cases[label][1])
        self.refuse_all(DATA, cases)

    def test_damaged_utf8_and_binaries_are_not_called_latin_1(self):
        for label, content in (("damaged", "Größe, Füße, Äpfel\n".encode() + b"\xff" + self.text.read_bytes()),
                               ("binary", b"\x7fELF\x02\x01\x80\x81" + self.text.read_bytes()), ("KOI8-R", "Шла Саша по шоссе. ".encode("koi8-r") * 50)):
            path = self.folder / label
            path.write_bytes(content)
            result = makemoe("eval", self.run_folder, "--data", path)
            self.assert_refused(result, DATA, "is not valid UTF-8; convert the text to UTF-8")
            self.assertNotIn("looks like", result.err)

    def test_nul_bytes_are_told_of(self):
        path = self.folder / "text"
        path.write_bytes(self.text.read_bytes() + b"\0" * 70)
        result = self.done("train", *[a if a != self.text else path for a in self.small], "--out", self.folder / "run", "--stop-after", 0)
        self.assertIn("70 NUL bytes", result.err)


class Files(Case):
    def test_a_config_of_another_kind_is_named_with_what_to_do(self):
        sweep = {"base": "cfg.json", "set": {"data.path": "text"}, "space": {"optim.learning_rate": {"choices": [0.001, 0.003]}}}
        files = {"sweep.json": sweep, "cfg.json": json.loads(TINY.read_text()), "dotted.json": {"train.max_iters": 5, "model": {"moe.top_k": 2}},
                 "seed.json": {"seed": 3}}
        for name, content in files.items():
            (self.folder / name).write_text(json.dumps(content))
        path = {name: self.folder / name for name in files}
        self.refuse_all(USAGE, {
            "a sweep to train": (("train", "--config", path["sweep.json"], "--out", self.folder / "made"),
                                 (path["sweep.json"], "sweep", f"{BINARY} sweep run {path['sweep.json']}")),
            "a sweep to check": (("config", "check", path["sweep.json"]), f"{BINARY} sweep run"),
            "a config to sweep": (("sweep", "run", path["cfg.json"], "--out", self.folder / "made"), ("is a config", '{"base": "cfg.json"')),
            "a small config to sweep": (("sweep", "run", path["seed.json"], "--out", self.folder / "made"), "is a config"),
            "dotted keys": (("config", "check", path["dotted.json"]), ('write it nested: {"train":{"max_iters":5}}', 'nested: {"moe":{"top_k":2}}')),
        }, cwd=self.folder)

    def test_a_home_that_the_shell_did_not_expand_is_named(self):
        (self.folder / "text.json").write_text('{"data": {"path": "~/text.txt"}}')
        (self.folder / "extends.json").write_text('{"extends": "~/base.json"}')
        says = ("~", "write the full path")
        self.refuse_all(USAGE, {
            "in a config": (("config", "check", "text.json"), ("data.path", *says)), "extended": (("config", "check", "extends.json"), says),
            "set": (("config", "show", "--set", "data.val_path=~/text.txt"), ("data.val_path", *says)),
            "a flag": (("train", *self.small[:2], "--data=~/text.txt", "--out", "made"), ("--data", *says)),
            "the folder": (("train", *self.small, "--out=~/made"), ("--out", *says)),
        }, cwd=self.folder)

    def test_a_folder_that_is_named_tilde_is_taken_as_it_is(self):
        (self.folder / "~").mkdir()
        shutil.copy(self.text, self.folder / "~" / "text.txt")
        self.done("train", *self.small[:2], "--data=~/text.txt", "--out", "made", "--set", "threads=1", "--set", "train.max_iters=1", cwd=self.folder)

    def test_a_text_in_one_line_of_megabytes_is_a_text(self):
        path = self.folder / "text"
        path.write_bytes(self.text.read_bytes().replace(b"\n", b" ") * 4000)
        self.done("train", *[a if a != self.text else path for a in self.small], "--out", self.folder / "run", "--dry-run")


if __name__ == "__main__":
    main(at_least=50)
