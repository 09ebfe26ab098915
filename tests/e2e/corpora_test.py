"""Runs from several files, from folders, and from ids that are mapped: the same runs, bit for bit, as from one text that is held."""

import json
import os
import pathlib
import re
import shutil
import signal
import time

from support import DATA, STEPS, TEXT, RunCase, main, makemoe, start, strict_json, temporaries, wait_for

ORDERS = ("random", "epoch", "sequential")
CI_TEXT = 64 << 20  # [bytes]
ALLOWANCE = CI_TEXT // 32  # [bytes] of anonymous memory beside what the same run of a short text has


def anonymous(pid):
    """[bytes]"""
    found = re.search(r"RssAnon:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10 if found else 0


class Corpora(RunCase):
    def setUp(self):
        super().setUp()
        text = self.text.read_text()
        self.parts = [text[:400], text[400:900], text[900:]]
        for i, part in enumerate(self.parts):
            self.file(f"texts/{i}/part.txt", part)
        self.file("texts/notes.md", "not one of them")

    def file(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def train(self, out, *arguments, code=0, **options):
        result = makemoe("train", *self.small, *arguments, "--out", self.folder / out, **options)
        self.assertEqual(result.code, code, result)
        return self.folder / out

    def named(self, *paths):
        return "--set", "data.path=" + json.dumps([str(path) for path in paths])

    def same(self, a, b):
        self.assert_same_bytes(a, b, STEPS)

    def cached(self, folder=None):
        return sorted((folder or self.folder / ".tokens").glob("*.tokens"))

    def small_without_data(self):
        at = self.small.index("--data")
        return (*self.small[:at], *self.small[at + 2 :])

    def test_by_characters_a_folder_a_pattern_and_a_list_are_the_text_that_cat_makes_of_them(self):
        names = ((self.folder / "texts",), (self.folder / "texts/*/*.txt",), [self.folder / f"texts/{i}/part.txt" for i in range(3)])
        for i, paths in enumerate(names):
            for more in ((), ("--set", f"data.cache={self.folder / 'cache'}")):
                run = self.folder / f"run{i}{len(more)}"
                result = makemoe("train", *self.small_without_data(), *self.named(*paths), *more, "--out", run)
                self.assertEqual(result.code, 0, result)
                self.same(run, self.run_folder)

    def test_documents_are_one_text_with_a_mark_between_them_held_or_mapped(self):
        joined = self.file("joined.txt", "<|endoftext|>".join(self.parts))
        bpe = ("--set", "data.tokenizer=bpe", "--set", "data.vocab_size=300")
        want = makemoe("train", *self.small_without_data(), *bpe, *self.named(joined), "--out", self.folder / "want")
        self.assertEqual(want.code, 0, want)
        for name, more in (("held", ()), ("mapped", ("--set", f"data.cache={self.folder / 'cache'}"))):
            self.done("train", *self.small_without_data(), *bpe, *more, *self.named(self.folder / "texts"), "--out", self.folder / name)
            self.same(self.folder / name, self.folder / "want")
            self.assertEqual(*((self.folder / run / "tokenizer.json").read_text() for run in (name, "want")))

    def test_mapped_ids_give_the_same_run_in_every_order_stopped_or_not(self):
        for order in ORDERS:
            by = ("--set", f"data.order={order}")
            held = self.train(f"held-{order}", *by)
            mapped = (*by, "--set", f"data.cache={self.folder / 'cache'}")
            whole = self.train(f"mapped-{order}", *mapped)
            self.same(whole, held)
            stopped = self.train(f"stopped-{order}", *mapped, "--stop-after", 2)
            self.done("train", "--resume", "--out", stopped)
            self.same(stopped, held)
        self.assertEqual(len(self.cached(self.folder / "cache")), 1, "one file serves all of them")

    def test_a_text_to_validate_on_is_mapped_too(self):
        val = self.file("val.txt", self.text.read_text()[200:800])
        by = ("--set", f"data.val_path={val}")
        held = self.train("held", *by)
        mapped = self.train("mapped", *by, "--set", f"data.cache={self.folder / 'cache'}")
        self.same(mapped, held)
        self.assertEqual(len(self.cached(self.folder / "cache")), 2)

    def test_a_token_file_is_a_text_with_its_tokenizer(self):
        tokenizer, tokens = self.folder / "t.json", self.folder / "t.tokens"
        self.done("tokenizer", "train", self.text, "--vocab-size", 300, "--out", tokenizer)
        self.done("data", "prepare", self.text, "--tokenizer", tokenizer, "--out", tokens)
        by = ("--set", f"data.tokenizer={tokenizer}")
        held = self.train("held", *by)
        self.done("train", *self.small_without_data(), *by, "--data", tokens, "--out", self.folder / "run")
        self.same(self.folder / "run", held)
        told = [strict_json(self.done("eval", self.folder / run, "--json").out) for run in ("run", "held")]
        self.assertEqual(told[0]["loss"], told[1]["loss"])
        # It is the text as far as sums tell: either resumes the other's run.
        stopped = self.train("stopped", *by, "--stop-after", 2)
        self.done("train", "--resume", "--out", stopped, "--data", tokens)
        self.same(stopped, held)
        other = self.folder / "other.json"
        self.done("tokenizer", "train", self.text, "--vocab-size", 299, "--out", other)
        broken = self.folder / "broken.tokens"
        broken.write_bytes(tokens.read_bytes()[:-2])
        shutil.rmtree(self.folder / "run")
        def begin(data, *more):
            return ("train", *self.small_without_data(), *more, "--data", data, "--out", self.folder / "run")
        self.refuse_all(DATA, {
            "no tokenizer": (begin(tokens), "data.tokenizer"),
            "another tokenizer": (begin(tokens, "--set", f"data.tokenizer={other}"), "by another tokenizer"),
            "broken": (begin(broken, *by), "broken.tokens"),
            "not as a text": (("tokenizer", "info", tokenizer, tokens), "is a token file"),
            "among others": (("train", *self.small_without_data(), *by, *self.named(tokens, self.text), "--out", self.folder / "run"),
                             "is a token file"),
        })

    def test_a_text_that_changed_is_noticed_by_a_resume_and_its_ids_are_made_anew_for_a_new_run(self):
        cache = ("--set", f"data.cache={self.folder / 'cache'}")
        text = self.file("t.txt", self.text.read_text())
        by = (*self.small_without_data(), *cache, "--data", text)
        run = self.folder / "run"
        self.done("train", *by, "--out", run, "--stop-after", 1)
        times = text.stat()
        changed = self.text.read_text().replace("e", "a", 1)
        text.write_text(changed)
        os.utime(text, ns=(times.st_atime_ns, times.st_mtime_ns))  # of the same size and time: the sum tells
        self.assert_refused(makemoe("train", "--resume", "--out", run), DATA, ("t.txt", "sha256"))
        self.done("train", *by, "--out", self.folder / "new")
        held = self.folder / "held"
        self.done("train", *self.small_without_data(), "--data", text, "--out", held)
        self.same(self.folder / "new", held)

    def test_ids_that_were_damaged_or_cut_are_made_anew_with_a_warning(self):
        cache = ("--set", f"data.cache={self.folder / 'cache'}")
        self.train("first", *cache)
        (file,) = self.cached(self.folder / "cache")
        whole = file.read_bytes()
        for i, content in enumerate((whole[:-1], whole[:4000], b"", whole[:100] + b"x" + whole[101:], whole[:-1] + bytes([whole[-1] ^ 1]),
                                     bytes(len(whole)), whole + b"x")):
            file.write_bytes(content)
            run = self.folder / f"run{i}"
            result = makemoe("train", *self.small, *cache, "--out", run)
            self.assertEqual(result.code, 0, result)
            self.assertIn("it is made anew", result.err)
            self.assertEqual(file.read_bytes()[4096:], whole[4096:])
            self.same(run, self.run_folder)

    def test_ids_are_kept_beside_the_run_only_where_texts_are_large(self):
        self.train("run")
        self.assertFalse((self.folder / ".tokens").exists())

    def test_a_sweep_learns_from_a_folder(self):
        definition = self.folder / "sweep.json"
        definition.write_text(json.dumps({"set": {"data.path": [str(self.folder / "texts")], "threads": 1, "model.n_layer": 1, "model.n_embed": 16,
                                                  "model.block_size": 8, "train.batch_size": 2, "train.max_iters": 2, "train.eval_interval": 1},
                                          "space": {"seed": {"choices": [1, 2]}}, "strategy": {"kind": "grid"}}))
        result = self.done("sweep", "run", definition, "--out", self.folder / "sweep", timeout=300)
        status = strict_json(self.done("sweep", "status", self.folder / "sweep", "--json").out)
        self.assertEqual([trial["state"] for trial in status["trials"]], ["complete"] * 2, result)


class LargeText(RunCase):
    """A text of 64 MB: its ids are mapped without being asked for."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.large = cls.home / "large.txt"
        block = TEXT.read_text().encode()
        with cls.large.open("wb") as file:
            for i in range(CI_TEXT // len(block) + 1):
                file.write(block + f"{i}\n".encode())
        cls.tokenizer = cls.home / "t.json"
        made = makemoe("tokenizer", "train", TEXT, "--vocab-size", 512, "--out", cls.tokenizer)
        assert made.code == 0, made

    def command(self, text, out, order):
        at = self.small.index("--data")
        return ("train", *self.small[:at], "--data", text, *self.small[at + 2 :], "--set", "eval.mode=random", "--set", "eval.eval_iters=5",
                "--set", f"data.tokenizer={self.tokenizer}", "--set", f"data.order={order}", "--set", "train.max_iters=100000000",
                "--set", "train.eval_interval=100000000", "--out", out)

    def held_by(self, text, out, order):
        """Of a run that has trained for a while."""
        process = start(*self.command(text, out, order))
        self.addCleanup(process.kill)
        metrics = out / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") > 20, process, seconds=100)
        held = anonymous(process.pid)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM)
        return held

    def test_training_holds_none_of_it_and_its_ids_are_made_once(self):
        for order in ORDERS:
            short = self.held_by(self.text, self.folder / f"short-{order}", order)
            long = self.held_by(self.large, self.folder / f"long-{order}", order)
            self.assertLess(long - short, ALLOWANCE, order)
        (file,) = (self.folder / ".tokens").glob("*.tokens")
        made = file.stat().st_mtime_ns
        self.done("train", "--resume", "--out", self.folder / "long-epoch", "--stop-after", 1)
        self.assertEqual(file.stat().st_mtime_ns, made)

    def test_killed_while_ids_are_made_a_resume_makes_them(self):
        run = self.folder / "run"
        process = start(*self.command(self.large, run, "random"))
        wait_for(lambda: temporaries(self.folder), process)
        time.sleep(0.05)
        process.kill()
        process.communicate()
        self.assertEqual(list((self.folder / ".tokens").glob("ids-*")), [])
        self.done(*self.command(self.large, run, "random"), "--resume", "--stop-after", 1)
        self.assertEqual(temporaries(self.folder), [])

    def test_ctrl_c_while_ids_are_made_leaves_nothing(self):
        process = start(*self.command(self.large, self.folder / "run", "random"))
        wait_for(lambda: temporaries(self.folder), process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + signal.SIGINT)
        self.assertEqual((temporaries(self.folder), list((self.folder / ".tokens").glob("ids-*"))), ([], []))


if __name__ == "__main__":
    main(at_least=5)
