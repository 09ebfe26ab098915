"""`makemoe tokenizer`: train, encode, decode, info. That its results are Hugging Face's is tokenizers_test's to say."""

import os

from support import DATA, RESOURCES, USAGE, Case, main, makemoe, strict_json

TEXT = "First Citizen:\nWe are accounted poor citizens, the patricians good.\n\nAll:\nSpeak, speak. Grüße, 世界! 🌱\n" * 20


class TokenizerCommand(Case):
    def setUp(self):
        super().setUp()
        self.poem = self.file("text.txt", TEXT.encode())
        self.json = self.folder / "words.json"
        self.done("tokenizer", "train", self.poem, "--vocab-size", 300, "--out", self.json)

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def encode(self, *arguments, **options):
        return self.done("tokenizer", "encode", *arguments, "--tokenizer", self.json, **options).out

    def decode(self, *arguments, **options):
        return self.done("tokenizer", "decode", *arguments, "--tokenizer", self.json, **options).out

    def test_a_trained_tokenizer_is_a_file_of_hugging_faces_layout(self):
        content = strict_json(self.json.read_text())
        self.assertEqual(content["model"]["type"], "BPE")
        self.assertEqual(len(content["model"]["vocab"]), 300)
        self.assertEqual(len(content["model"]["merges"]), 300 - 257)
        self.assertEqual(content["added_tokens"][0]["content"], "<|endoftext|>")

    def test_the_file_is_the_same_for_any_number_of_threads_and_on_standard_output(self):
        for threads in (1, 2, 7):
            out = self.done("tokenizer", "train", self.poem, "--vocab-size", 300, "--threads", threads, "--out", "-").out
            self.assertEqual(out, self.json.read_text())

    def test_several_texts_are_one_more_than_their_chunks_alone(self):
        both = self.folder / "both.json"
        self.done("tokenizer", "train", self.poem, self.file("more.txt", b"zebra zebra zebra zebra " * 99),
                  "--vocab-size", 300, "--out", both)
        self.assertIn("Ġzebra", strict_json(both.read_text())["model"]["vocab"])
        self.assertNotIn("Ġzebra", strict_json(self.json.read_text())["model"]["vocab"])

    def test_documents_are_learned_without_what_separates_them(self):
        marked = self.file("marked.txt", (TEXT + "<|endoftext|>").encode() * 3)
        alone = self.file("alone.txt", TEXT.encode())
        learned = [self.done("tokenizer", "train", *texts, "--vocab-size", 300, "--out", "-").out for texts in ([marked], [alone] * 3)]
        self.assertEqual(*learned)

    def test_decoding_gives_the_text_back(self):
        ids = self.encode(self.poem)
        self.assertTrue(all(0 <= int(word) < 300 for word in ids.split(" ")))
        self.assertLess(len(ids.split(" ")), len(TEXT.encode()))
        self.assertEqual(self.decode(self.file("ids.txt", ids.encode())), TEXT)
        self.assertEqual(self.encode("-", input=TEXT.encode()), ids)
        self.assertEqual(self.decode("-", input=ids.replace(" ", "\n\t").encode()), TEXT)
        self.assertEqual(self.encode(self.poem, "--threads", 2), ids)

    def test_the_end_of_a_text_is_letters_unless_it_is_asked_for(self):
        text = self.file("ends.txt", b"a<|endoftext|>b")
        letters, token = self.encode(text).split(), self.encode(text, "--special").split()
        self.assertEqual((len(token), token[1]), (3, "0"))
        self.assertGreater(len(letters), 3)
        ids = self.file("ids.txt", " ".join(token).encode())
        self.assertEqual(self.decode(ids), "ab")
        self.assertEqual(self.decode(ids, "--special"), "a<|endoftext|>b")

    def test_ids_cut_within_a_character_are_shown_as_its_replacement(self):
        seedling = self.encode(self.file("seedling.txt", "🌱".encode())).split()
        self.assertGreater(len(seedling), 1)
        self.assertEqual(self.decode("-", input=" ".join(seedling[:-1]).encode()), "\N{REPLACEMENT CHARACTER}")

    def test_info_tells_what_is_in_it_and_what_texts_become(self):
        told = strict_json(self.done("tokenizer", "info", self.json, self.poem, "--json").out)
        self.assertEqual((told["kind"], told["vocab_size"], told["specials"]), ("bpe", 300, ["<|endoftext|>"]))
        self.assertEqual(len(told["longest"]), 10)
        counted = told["texts"][0]
        self.assertEqual(counted["bytes"], len(TEXT.encode()))
        self.assertEqual(counted["tokens"], len(self.encode(self.poem).split(" ")))
        self.assertAlmostEqual(counted["bytes_per_token"], counted["bytes"] / counted["tokens"])
        shown = self.done("tokenizer", "info", self.json, self.poem).out
        self.assertIn("300 tokens", shown)
        self.assertIn("bytes a token", shown)

    def test_the_tokenizer_of_a_run_is_one_of_characters(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run).code, 0)
        path = run / "tokenizer.json"
        told = strict_json(self.done("tokenizer", "info", path, "--json").out)
        self.assertEqual((told["kind"], told["specials"]), ("char", []))
        ids = self.done("tokenizer", "encode", self.file("a.txt", b"the"), "--tokenizer", path).out
        self.assertEqual(len(ids.split()), 3)
        self.assertEqual(self.done("tokenizer", "decode", "-", "--tokenizer", path, input=ids.encode()).out, "the")
        strange = makemoe("tokenizer", "encode", self.file("b.txt", "世".encode()), "--tokenizer", path)
        self.assert_refused(strange, DATA, ("U+4E16",))

    def test_a_vocabulary_larger_than_the_text_has_pairs_for_is_smaller_and_says_so(self):
        out = self.folder / "small.json"
        result = self.done("tokenizer", "train", self.file("ab.txt", b"ab"), "--vocab-size", 1000, "--out", out)
        self.assertIn("258 tokens alone, not 1000", result.err)

    def test_what_cannot_be_read_is_one_error_and_leaves_nothing(self):
        broken = {"latin.txt": b"caf\xe9", "empty.txt": b""}
        texts = {name: self.file(name, content) for name, content in broken.items()}
        out = self.folder / "out.json"
        before = sorted(os.listdir(self.folder))
        self.refuse_all(DATA, {
            **{name: (("tokenizer", "train", path, "--out", out), name) for name, path in texts.items()},
            "no text": (("tokenizer", "train", self.folder / "nowhere", "--out", out), "nowhere"),
            "a folder": (("tokenizer", "train", self.folder, "--out", out), str(self.folder)),
            "no tokenizer": (("tokenizer", "encode", self.poem, "--tokenizer", self.folder / "none"), "none"),
            "no json": (("tokenizer", "info", self.poem), "text.txt"),
            "a word": (("tokenizer", "decode", self.file("w", b"1 two 3"), "--tokenizer", self.json), ('"two"', "2.")),
            "beyond": (("tokenizer", "decode", self.file("b", b"1 300"), "--tokenizer", self.json), ('"300"', "0 to 299")),
            "below 0": (("tokenizer", "decode", self.file("n", b"-1"), "--tokenizer", self.json), '"-1"'),
            "too large": (("tokenizer", "decode", self.file("l", b"9" * 30), "--tokenizer", self.json), "999"),
        })
        self.assertEqual(sorted(set(os.listdir(self.folder)) - {"w", "b", "n", "l"}), before)

    def test_usage_is_checked(self):
        self.refuse_all(USAGE, {
            "no text": (("tokenizer", "train", "--out", "x"), "texts"),
            "no out": (("tokenizer", "train", self.poem), "--out"),
            "too small": (("tokenizer", "train", self.poem, "--vocab-size", 256, "--out", "x"), "257"),
            "no number": (("tokenizer", "train", self.poem, "--vocab-size", "4k", "--out", "x"), "4k"),
            "no threads": (("tokenizer", "train", self.poem, "--threads", 0, "--out", "x"), "--threads"),
            "two inputs": (("tokenizer", "encode", self.poem, self.poem, "--tokenizer", self.json), "text.txt"),
            "no tokenizer": (("tokenizer", "decode", self.poem), "--tokenizer"),
        })

    def test_a_place_that_takes_no_file_is_an_error_of_its_own(self):
        self.refuse_all(RESOURCES, {
            "no folder": (("tokenizer", "train", self.poem, "--vocab-size", 300, "--out", self.folder / "no" / "x.json"), "no"),
            "a folder": (("tokenizer", "train", self.poem, "--vocab-size", 300, "--out", self.folder), str(self.folder)),
        })


if __name__ == "__main__":
    main(at_least=15)
