"""Byte-level BPE held against the wheels tokenizers and tiktoken, each in an environment of its own."""

import array
import base64
import json
import pathlib
import random
import subprocess
import tempfile
import unittest

from support import BINARY, SOURCE, TEXT
from venvs import main, python_with

BUILD = pathlib.Path(BINARY).resolve().parent
ASK = pathlib.Path(__file__).with_name("ask_tokenizers.py")
END = "<|endoftext|>"
HOSTILE = [*" '  \n\tstrevmldx", "a", "Z", "é", "ß", "я", "1", "٣", "½", ".", "-", "<", "|", "\u00a0", "\u3000", "\u0301", "漢", "字", "🌊",
           "\u200d", "\u2028", "\x00", "'s", "'ll", "re", END, "the ", "the ", " and"]


def own_program():
    subprocess.run(["cmake", "--build", BUILD, "--target", "moe_tokens_bench"], check=True, capture_output=True)
    return BUILD / "moe_tokens_bench"


class Asked(unittest.TestCase):
    """One process with the wheel answers all questions of a class."""

    WHEEL = "tokenizers"

    @classmethod
    def setUpClass(cls):
        python = python_with(cls.WHEEL)
        cls.program = own_program()
        cls.answers = subprocess.Popen([python, ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)

    @classmethod
    def tearDownClass(cls):
        cls.answers.communicate()
        cls.scratch.cleanup()

    def ask(self, what, **question):
        print(json.dumps({"ask": what, **question}), file=self.answers.stdin, flush=True)
        return json.loads(self.answers.stdout.readline())

    def own(self, *arguments, fails=False):
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, check=False)
        self.assertEqual(fails, done.returncode != 0, done.stderr)
        return done.stderr if fails else json.loads(done.stdout)

    def write(self, name, text):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def numbers(self, name):
        return list(array.array("i", (self.folder / name).read_bytes()))

    def encode(self, tokenizer, text, specials="ordinary", threads=1):
        self.own("encode", tokenizer, self.write("text", text), threads, specials, 1, self.folder / "ids")
        return self.numbers("ids")


def texts(count, longest):
    draws = random.Random(23)
    for _ in range(count):
        yield "".join(draws.choices(HOSTILE, k=draws.randrange(longest)))


class Tokenizers(Asked):
    def test_every_code_point_is_split_alike_beside_letters_numbers_and_signs(self):
        blocks = [range(begin, min(begin + 4096, 0x110000)) for begin in range(0, 0x110000, 4096)]
        written = ["".join(f"a{chr(code)}1{chr(code)}!{chr(code)} " for code in block if not 0xD800 <= code < 0xE000) for block in blocks]
        written = [text for text in written if text]
        answer = self.ask("chunks", texts=written)
        self.assertEqual(len(answer), len(written))
        for text, sizes in zip(written, answer):
            self.own("chunks", self.write("text", text), self.folder / "sizes")
            self.assertEqual(self.numbers("sizes"), sizes, f"near U+{ord(text[1]):04X}")

    def test_vocabulary_merges_and_ids_of_hostile_texts_are_equal_to_the_byte(self):
        for place, text in enumerate(texts(40, 3000)):
            with self.subTest(place):
                size, least = 257 + 7 * place, place % 4
                theirs, ours = self.folder / "theirs.json", self.folder / "ours.json"
                self.ask("train", texts=text.split(END), vocab_size=size, min_frequency=least, out=str(theirs))
                self.own("train", self.write("text", text), size, least, 1 + place % 3, ours)
                self.assertEqual(ours.read_bytes(), theirs.read_bytes())
                for specials in ("ordinary", "token"):
                    ids = self.ask("encode", file=str(theirs), text=text, as_token=specials == "token")
                    self.assertEqual(self.encode(theirs, text, specials), ids)
                shuffled = random.Random(place).choices(ids or [0], k=50)
                self.write("ids", array.array("i", shuffled).tobytes())
                self.own("decode", ours, self.folder / "ids", self.folder / "decoded")
                self.assertEqual((self.folder / "decoded").read_bytes().decode(),
                                 self.ask("decode", file=str(theirs), ids=shuffled))

    def test_a_story_and_our_documents_are_learned_alike(self):
        text = END.join(path.read_text(encoding="utf-8") for path in [TEXT, *sorted((SOURCE / "docs").glob("*.md"))])
        theirs, ours = self.folder / "theirs.json", self.folder / "ours.json"
        self.ask("train", texts=text.split(END), vocab_size=4096, min_frequency=2, out=str(theirs))
        self.own("train", self.write("text", text), 4096, 2, 2, ours)
        self.assertEqual(ours.read_bytes(), theirs.read_bytes())
        self.assertEqual(self.encode(ours, text, "token", 2), self.ask("encode", file=str(ours), text=text, as_token=True))

    def test_files_with_merges_as_texts_are_read_as_they_were(self):
        theirs = self.folder / "theirs.json"
        self.ask("train", texts=["the lamp and the keeper " * 9], vocab_size=300, min_frequency=0, out=str(theirs))
        json_text = json.loads(theirs.read_text(encoding="utf-8"))
        json_text["model"]["merges"] = [" ".join(merge) for merge in json_text["model"]["merges"]]
        old = self.write("old.json", json.dumps(json_text))
        text = "the keeper and the lamp's oil"
        ids = self.ask("encode", file=str(old), text=text, as_token=False)
        self.assertEqual(self.encode(old, text), ids)
        self.assertLess(len(ids), len(text))


class Tiktoken(Asked):
    WHEEL = "tiktoken"

    def test_ranks_give_tiktokens_ids(self):
        story = TEXT.read_text(encoding="utf-8")
        trained = self.folder / "trained.json"
        self.own("train", TEXT, 900, 0, 1, trained)
        vocab = json.loads(trained.read_text(encoding="utf-8"))["model"]["vocab"]
        shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        byte_of = {chr(byte): byte for byte in shown}
        byte_of |= {chr(0x100 + place): byte for place, byte in enumerate(sorted(set(range(256)) - set(shown)))}
        lines = [f"{base64.b64encode(bytes(byte_of[c] for c in token)).decode()} {number - 1}" for token, number in vocab.items() if number > 0]
        ranks = self.write("own.tiktoken", "\n".join(lines) + "\n")
        for text in [story, *texts(40, 400)]:
            self.assertEqual(self.encode(ranks, text), self.ask("rank_encode", file=str(ranks), text=text))


if __name__ == "__main__":
    main()
