#!/usr/bin/env python3
"""Byte-level BPE against the wheels tokenizers (its trainer) and tiktoken (its encoder), side by side.

    cmake --build --preset release --target moe_tokens_bench
    python3 -m venv build/venvs/tokens && build/venvs/tokens/bin/pip install tokenizers tiktoken
    build/venvs/tokens/bin/python bench/corpus.py build/corpus.txt
    build/venvs/tokens/bin/python bench/tokens.py build/moe_tokens_bench build/corpus.txt [--vocab-size 8192]
        [--threads 2] [--rounds 3] [--without-trainer]

Rounds of each in turn, so that all see the same machine; medians with their range, and the ratio of the
medians. The wheel's trainer gets the documents as a list, as its own examples do, and as many threads.
tiktoken is built from our merges, and has one thread. Both answers are compared: the file byte for byte,
and all ids.
"""

import argparse
import array
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

END = "<|endoftext|>"
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def seconds_of(action):
    begin = time.perf_counter()
    result = action()
    return time.perf_counter() - begin, result


def train_wheel(documents, vocab_size, out):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    seconds, _ = seconds_of(lambda: tokenizer.train_from_iterator(documents, trainer))
    tokenizer.save(str(out), pretty=True)
    return seconds


def tiktoken_of(file):
    import tiktoken

    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    byte_of = {chr(byte): byte for byte in shown}
    byte_of |= {chr(0x100 + place): byte for place, byte in enumerate(sorted(set(range(256)) - set(shown)))}
    vocab = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
    ranks = {bytes(byte_of[c] for c in token): number for token, number in vocab.items() if token != END}
    return tiktoken.Encoding("own", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END: 0})


class Bench:
    def __init__(self, given, folder):
        self.given, self.folder = given, folder
        self.text = given.corpus.read_bytes().decode("utf-8")
        self.documents = [document for document in self.text.split(END) if document]
        self.times = {}

    def note(self, name, *seconds):
        self.times.setdefault(name, []).extend(seconds)

    def own(self, *arguments):
        done = subprocess.run([self.given.program, *map(str, arguments)], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def encode(self, threads):
        answer = self.own("encode", self.folder / "own.json", self.given.corpus, threads, "token", 1, self.folder / "ids")
        return answer["seconds"]

    def round(self):
        size, threads = self.given.vocab_size, self.given.threads
        answer = self.own("train", self.given.corpus, size, 0, threads, self.folder / "own.json")
        self.note("makemoe trains", answer["count_s"] + answer["train_s"])
        self.chunks = answer["chunks"]
        if not self.given.without_trainer:
            self.note("tokenizers trains", train_wheel(self.documents, size, self.folder / "wheel.json"))
            if (self.folder / "own.json").read_bytes() != (self.folder / "wheel.json").read_bytes():
                raise SystemExit("the trainers differ")
        tiktoken = tiktoken_of(self.folder / "own.json")
        seconds, theirs = seconds_of(lambda: tiktoken.encode(self.text, allowed_special="all"))
        self.note("tiktoken encodes", seconds)
        self.note("makemoe encodes", *self.encode(1))
        if array.array("i", (self.folder / "ids").read_bytes()).tolist() != theirs:
            raise SystemExit("the ids differ")
        self.note(f"makemoe encodes, {threads} threads", *self.encode(threads))

    def report(self):
        megabytes = self.given.corpus.stat().st_size / 1e6
        print(f"{megabytes:.1f} MB, {len(self.documents)} documents, {self.chunks} distinct chunks, V = {self.given.vocab_size}, "
              f"{self.given.threads} threads, load {os.getloadavg()[0]:.1f}\n")
        print("| | median [s] | range | MB/s |\n|---|---|---|---|")
        medians = {name: statistics.median(values) for name, values in self.times.items()}
        for name, values in self.times.items():
            print(f"| {name} | {medians[name]:.2f} | {min(values):.2f} to {max(values):.2f} | {megabytes / medians[name]:.1f} |")
        own = medians["makemoe encodes"]
        print(f"\nencoding: {medians['tiktoken encodes'] / own:.2f} times tiktoken's rate; {self.given.threads} threads "
              f"{own / medians[f'makemoe encodes, {self.given.threads} threads']:.2f} times one")
        if "tokenizers trains" in medians:
            print(f"training: {medians['tokenizers trains'] / medians['makemoe trains']:.2f} times the trainer's rate")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-trainer", action="store_true", help="the wheel's trainer takes minutes")
    given = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(given, pathlib.Path(folder))
        for _ in range(given.rounds):
            bench.round()
        bench.report()


if __name__ == "__main__":
    main()
