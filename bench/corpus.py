#!/usr/bin/env python3
"""Writes a corpus for bench/tokens.py: sources and documents of the installed Python, then made-up words.

    bench/corpus.py OUT [--megabytes 100]

Half of it is real text: the files of the standard library and of the packages that this Python sees,
in the order of their names, with repeats where there are too few. The other half is words in nine
scripts, drawn as often as Zipf's law says, so that there are more than 500,000 distinct chunks. The
same Python and packages give the same bytes. Documents are separated by <|endoftext|>.
"""

import argparse
import pathlib
import random
import sys
import sysconfig

END = "<|endoftext|>"
SUFFIXES = {".py", ".pyi", ".txt", ".rst", ".md", ".html", ".json", ".h"}
LONGEST = 200_000  # [bytes] of one document
# First and last letter of each script: Latin, Cyrillic, Greek, Arabic, Hebrew, Devanagari, Chinese,
# Japanese, Korean.
SCRIPTS = [(0x61, 0x7A), (0x430, 0x44F), (0x3B1, 0x3C9), (0x627, 0x64A), (0x5D0, 0x5EA), (0x905, 0x939), (0x4E00, 0x5FFF),
           (0x3041, 0x3093), (0xAC00, 0xB3FF)]
ENDS = [" "] * 12 + [", ", ". ", "\n", "! ", " 12 ", "'s ", " (", ") "]


def installed():
    """Documents of this Python, as long as it has any that are new."""
    for key in ("stdlib", "purelib", "platlib"):
        for path in sorted(pathlib.Path(sysconfig.get_path(key)).rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file():
                continue
            try:
                text = path.read_bytes()[:LONGEST].decode("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            yield text.replace(END, "")


def words(draws, script):
    """A draw of a word of this script: the r-th most frequent one is r times as rare as the first."""
    first, last = script
    letters = last - first
    known = ["".join(chr(first + int(letters * draws.random() ** 2)) for _ in range(draws.randint(1, 8))) for _ in range(120_000)]
    return lambda: known[int(len(known) ** draws.random()) - 1]


def made_up(draws):
    drawing = [words(draws, script) for script in SCRIPTS]
    while True:
        word = draws.choice(drawing)
        yield "".join(word() + draws.choice(ENDS) for _ in range(draws.randint(100, 4000)))


def write(out, documents, most):
    size = 0
    for document in documents:
        encoded = (document + END).encode()
        size += out.write(encoded)
        if size >= most:
            return size
    return size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--megabytes", type=float, default=100)
    given = parser.parse_args()
    half = given.megabytes * 1e6 / 2
    with given.out.open("wb") as out:
        real = 0
        while real < half:
            more = write(out, installed(), half - real)
            if more == 0:
                sys.exit("this Python has no readable files")
            real += more
        write(out, made_up(random.Random(1)), half)
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB, {real / 1e6:.1f} of them of the installed Python")


if __name__ == "__main__":
    main()
