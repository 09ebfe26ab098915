"""Runs whose tokens are subwords: `data.tokenizer` "bpe" and a file, from the text to what reads the checkpoint."""

import base64
import json
import math

from support import CHECKPOINT, DATA, TEXT, TINY, USAGE, Case, main, makemoe, strict_json

VOCAB = 300
SIZES = ("--set", "train.max_iters=6", "--set", "train.eval_interval=3", "--set", "eval.eval_iters=2")
BPE = ("--set", "data.tokenizer=bpe", "--set", f"data.vocab_size={VOCAB}")
END = "<|endoftext|>"


def train(text, run, *more):
    return ("train", "--config", TINY, "--data", text, "--out", run, *SIZES, *more)


class WordsCase(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.home / "run"
        done = makemoe(*train(TEXT, cls.run_folder, *BPE))
        assert done.code == 0, done


class Trained(WordsCase):
    def test_the_tokenizer_is_that_of_the_part_to_train_on(self):
        text = TEXT.read_bytes()
        at = int(len(text) * 0.9)
        ends = [end for end in range(at, at + 40) if self.is_cut(text, end)]
        part = self.folder / "part.txt"
        part.write_bytes(text[:ends[0]])
        trained = self.done("tokenizer", "train", part, "--vocab-size", VOCAB, "--out", "-").out
        self.assertEqual((self.run_folder / "tokenizer.json").read_text(), trained + "\n")

    @staticmethod
    def is_cut(text, end):
        """Behind a letter or number before something else: here letters are ASCII or a part of a character."""
        before, after = text[end - 1:end], text[end:end + 1]
        return before.isalpha() and not after.isalnum() and after[0] < 0x80

    def test_both_parts_are_the_tokens_of_the_text(self):
        info = strict_json(self.done("info", self.run_folder, "--json").out)
        self.assertEqual(info["vocab_size"], VOCAB)
        counted = {split: strict_json(self.done("eval", self.run_folder, "--split", split, "--set", "eval.mode=full", "--json").out)["tokens"]
                   for split in ("train", "val", "all")}
        ids = self.done("tokenizer", "encode", TEXT, "--tokenizer", self.run_folder / "tokenizer.json").out.split()
        self.assertEqual(counted["all"], len(ids) - 1)
        self.assertEqual(counted["train"] + counted["val"], len(ids) - 2)

    def test_bits_a_byte_are_those_of_the_bytes_of_the_targets(self):
        told = strict_json(self.done("eval", self.run_folder, "--split", "all", "--set", "eval.mode=full", "--json").out)
        ids = self.done("tokenizer", "encode", TEXT, "--tokenizer", self.run_folder / "tokenizer.json").out.split()
        first = self.done("tokenizer", "decode", "-", "--tokenizer", self.run_folder / "tokenizer.json", input=ids[0].encode()).out
        size = len(TEXT.read_bytes()) - len(first.encode())
        self.assertAlmostEqual(told["bits_per_byte"], told["loss"] * told["tokens"] / math.log(2) / size, places=9)

    def test_a_run_that_was_stopped_ends_as_one_that_was_not(self):
        run = self.folder / "run"
        self.done(*train(TEXT, run, *BPE, "--stop-after", 3))
        self.done("train", "--resume", "--out", run)
        for name in ("model.safetensors", "optimizer.safetensors", "tokenizer.json"):
            there = "checkpoints/step-00000006/" + name
            self.assertEqual((run / there).read_bytes(), (self.run_folder / there).read_bytes(), name)

    def test_the_file_of_a_tokenizer_trains_the_same_model(self):
        run = self.folder / "run"
        self.done(*train(TEXT, run, "--set", f"data.tokenizer={self.run_folder / 'tokenizer.json'}"))
        weights = "checkpoints/step-00000006/model.safetensors"
        self.assertEqual((run / weights).read_bytes(), (self.run_folder / weights).read_bytes())

    def test_a_run_resumes_without_the_file_of_its_tokenizer(self):
        run, words = self.folder / "run", self.folder / "words.json"
        words.write_bytes((self.run_folder / "tokenizer.json").read_bytes())
        self.done(*train(TEXT, run, "--set", f"data.tokenizer={words}", "--stop-after", 3))
        words.unlink()
        self.done("train", "--resume", "--out", run)

    def test_a_tiktoken_file_trains(self):
        ranks = self.folder / "bytes.tiktoken"
        ranks.write_bytes(b"".join(base64.b64encode(bytes([i])) + f" {i}\n".encode() for i in range(256)))
        self.done(*train(TEXT, self.folder / "run", "--set", f"data.tokenizer={ranks}"))
        info = strict_json(self.done("info", self.folder / "run", "--json").out)
        self.assertEqual(info["vocab_size"], 257)

    def test_a_text_with_fewer_pairs_makes_fewer_tokens_and_says_so(self):
        done = self.done(*train(TEXT, self.folder / "run", "--set", "data.tokenizer=bpe", "--set", "data.vocab_size=1000000", "--stop-after", 0))
        self.assertIn("data.vocab_size", done.err)

    def test_documents_are_separated_by_the_token(self):
        text = self.folder / "documents.txt"
        text.write_text(END.join(TEXT.read_text().split("\n\n")))
        run = self.folder / "run"
        self.done(*train(text, run, *BPE))
        self.assertNotIn("endoftext", json.loads((run / "tokenizer.json").read_text())["model"]["merges"].__str__())
        told = strict_json(self.done("eval", run, "--split", "all", "--set", "eval.mode=full", "--json").out)
        ids = self.done("tokenizer", "encode", text, "--special", "--tokenizer", run / "tokenizer.json").out.split()
        self.assertEqual(told["tokens"], len(ids) - 1)
        self.assertEqual(ids.count("0"), text.read_text().count(END))

    def test_a_text_to_validate_on_is_encoded_as_the_other(self):
        val, run = self.folder / "val.txt", self.folder / "run"
        val.write_text("The keeper of the lantern sailed. Grüße, 世界!\n" * 9)
        self.done(*train(TEXT, run, *BPE, "--set", f"data.val_path={val}"))
        told = strict_json(self.done("eval", run, "--set", "eval.mode=full", "--json").out)
        ids = self.done("tokenizer", "encode", val, "--tokenizer", run / "tokenizer.json").out.split()
        self.assertEqual(told["tokens"], len(ids) - 1)


class Used(WordsCase):
    def test_any_prompt_is_continued(self):
        for prompt in ("ROMEO:", "世界 🌱", END, ""):
            told = strict_json(self.done("generate", self.run_folder, "--prompt", prompt, "--max-new-tokens", 20, "--seed", 1, "--json").out)
            sample = told["samples"][0]
            self.assertEqual(sample["prompt"], prompt)
            ids = " ".join(map(str, sample["token_ids"]))
            text = self.done("tokenizer", "decode", "-", "--tokenizer", self.run_folder / "tokenizer.json", input=ids.encode()).out
            self.assertEqual(sample["text"], text)

    def test_what_is_streamed_is_what_the_answer_says(self):
        flags = ("generate", self.run_folder, "--prompt", "The", "--max-new-tokens", 40, "--seed", 7)
        sample = strict_json(self.done(*flags, "--json").out)["samples"][0]
        self.assertEqual(self.done(*flags).out, "The" + sample["text"] + "\n")

    def test_special_tokens_are_printed_on_request_only(self):
        flags = ("generate", self.run_folder, "--temperature", 50, "--max-new-tokens", 2000, "--seed", 3, "--json")
        plain, shown = (strict_json(self.done(*flags, *more).out)["samples"][0] for more in ((), ("--special",)))
        self.assertEqual((plain["finish"], plain["token_ids"][-1]), ("stop", 0))
        self.assertNotIn(END, plain["text"])
        self.assertEqual((shown["finish"], len(shown["token_ids"])), ("length", 2000))
        self.assertEqual(shown["text"].count(END), shown["token_ids"].count(0))

    def test_a_stop_text_within_a_token_ends_the_sample_before_it(self):
        flags = ("generate", self.run_folder, "--prompt", "The", "--max-new-tokens", 60, "--seed", 7, "--json")
        whole = strict_json(self.done(*flags).out)["samples"][0]["text"]
        stop = whole[11:14]
        sample = strict_json(self.done(*flags, "--stop", stop).out)["samples"][0]
        self.assertEqual((sample["finish"], sample["text"]), ("stop", whole[:whole.index(stop)]))

    def test_inspect_and_the_report_show_tokens(self):
        told = strict_json(self.done("inspect", self.run_folder, "--prompt", "The keeper", "--json").out)
        self.assertLessEqual(len(told["symbols"]), VOCAB)
        self.assertEqual("".join(row["symbol"] for row in told["prompt"]), "The keeper")
        for layer in told["layers"]:
            self.assertEqual([sum(row) + other for row, other in zip(layer["symbol_map"], layer["other_symbols"])], layer["load"])
        self.assertIn("expert 0", self.done("inspect", self.run_folder).out)
        for view in ("--ablate", "--information", "--depth", "--similarity"):
            self.done("inspect", self.run_folder, view, "--windows", 5, "--json")
        self.done("report", self.run_folder, "--out", self.folder / "report.html")

    def test_weights_go_out_and_come_back_with_the_vocabulary(self):
        weights, run = self.folder / "weights.safetensors", self.folder / "run"
        self.done("export", self.run_folder, "--out", weights)
        self.done("import", weights, "--config", self.run_folder / "config.json", "--vocab", self.run_folder / "tokenizer.json", "--out", run)
        self.assertEqual((run / "tokenizer.json").read_text(), (self.run_folder / "tokenizer.json").read_text())
        prompt = ("--prompt", "The", "--temperature", 0, "--max-new-tokens", 10)
        self.assertEqual(self.done("generate", run, *prompt).out, self.done("generate", self.run_folder, *prompt).out)

    def test_another_text_is_learned_with_the_tokens_of_the_checkpoint(self):
        text, run = self.folder / "new.txt", self.folder / "run"
        text.write_text("Grüße aus 世界, sagte der Wärter.\n" * 60)
        self.done(*train(text, run, *BPE, "--init-from", self.run_folder))
        self.assertEqual((run / "tokenizer.json").read_text(), (self.run_folder / "tokenizer.json").read_text())

    def test_bench_times_as_many_tokens(self):
        told = strict_json(self.done("bench", "--config", TINY, *BPE, "--set", "train.max_iters=1", "--json").out)
        self.assertGreater(told["train_tokens_per_second"], 0)
        self.done("bench", "--config", TINY, "--set", f"data.tokenizer={self.run_folder / 'tokenizer.json'}", "--json")


class Refused(WordsCase):
    def test_what_is_no_tokenizer_is_refused_before_a_folder_is_made(self):
        made = self.folder / "made"
        files = {"empty": (b"", "is empty"), "json": (b"{}", "tokenizer"), "list": (b"[]", "object"), "cut": (b'{"model": {"type"', "ends too early"),
                 "text": (b"the sea\n", "tiktoken"), "binary": (bytes(range(256)), "tokenizer"),
                 "deep": (b"[" * 100000, "nested")}
        cases = {}
        for name, (content, says) in files.items():
            path = self.folder / name
            path.write_bytes(content)
            cases[name] = (train(TEXT, made, "--set", f"data.tokenizer={path}"), (str(path),))
        cases["missing"] = (train(TEXT, made, "--set", "data.tokenizer=nowhere.json"), ("nowhere.json",))
        cases["folder"] = (train(TEXT, made, "--set", f"data.tokenizer={self.folder}"), (str(self.folder),))
        self.refuse_all(DATA, cases)
        self.assertFalse(made.exists())

    def test_a_tokenizer_of_characters_that_lacks_some_is_refused(self):
        letters = self.folder / "letters.json"
        small = self.folder / "small.txt"
        small.write_text("abc" * 200)
        self.done(*train(small, self.folder / "abc", "--stop-after", 0))
        letters.write_bytes((self.folder / "abc" / "tokenizer.json").read_bytes())
        self.refuse_all(DATA, {"symbols": (train(TEXT, self.folder / "made", "--set", f"data.tokenizer={letters}"), "vocabulary")})

    def test_a_text_of_one_token_is_nothing_to_learn(self):
        text = self.folder / "same.txt"
        text.write_text(" a" * 2000)
        self.refuse_all(DATA, {"one": (train(text, self.folder / "made", *BPE), "nothing to learn")})

    def test_weights_of_another_kind_of_tokens_are_refused(self):
        made = self.folder / "made"
        self.refuse_all(USAGE, {"char": (train(TEXT, made, "--init-from", self.run_folder), ("data.tokenizer", '"bpe"'))})

    def test_a_resumed_run_keeps_its_tokenizer(self):
        run = self.folder / "run"
        self.done(*train(TEXT, run, *BPE, "--stop-after", 3))
        for change in ("data.vocab_size=400", "data.tokenizer=char"):
            self.refuse_all(USAGE, {change: (("train", "--resume", "--out", run, "--set", change), change.partition("=")[0])})

    def test_a_damaged_tokenizer_of_a_checkpoint_is_named(self):
        run = self.folder / "run"
        self.done(*train(TEXT, run, *BPE))
        for step in (run / "checkpoints").iterdir():
            if step.is_dir():
                (step / "tokenizer.json").write_text("{}")
        self.refuse_all(CHECKPOINT, {"damaged": (("generate", run), "tokenizer.json")})


if __name__ == "__main__":
    main(at_least=15)
