#!/usr/bin/env python3
"""Writes src/data/split_ranges.cpp: letters, numbers and white space as GPT-2's splitter sees them.

    pip install tokenizers && scripts/split_classes.py > src/data/split_ranges.cpp

No table of Unicode is read. Hugging Face's own splitter is asked about every code point: one that
stays together with "a" is a letter, with "1" a number, with "!" something else; what stays with none
of them is white space.
"""

import sys

import tokenizers

SURROGATES = range(0xD800, 0xE000)  # no text has any
COLUMNS = 100
HEAD = """\
// Written by scripts/split_classes.py, which asked tokenizers {version} about every code point.
#include "data/split_ranges.h"

namespace moe {{

// clang-format off
"""


def classes():
    """A letter for each code point: L, N, S (white space) or O (other)."""
    splitter = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)

    def kind(symbol):
        for neighbour, name in (("a", "L"), ("1", "N"), ("!", "O")):
            if len(splitter.pre_tokenize_str(neighbour + symbol)) == 1:
                return name
        return "S"

    return ["O" if code in SURROGATES else kind(chr(code)) for code in range(0x110000)]


def ranges(kinds, wanted):
    """[first, last] of each run of `wanted`."""
    found = []
    for code, kind in enumerate(kinds):
        if kind != wanted:
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def array(name, found):
    lines, line = [], "   "
    for first, last in found:
        entry = f" {{0x{first:X}, 0x{last:X}}},"
        if len(line) + len(entry) > COLUMNS:
            lines.append(line)
            line = "   "
        line += entry
    body = "\n".join([*lines, line]).rstrip(",")
    return f"constexpr SplitRange {name}Ranges[] = {{\n{body}}};\n"


def main():
    kinds = classes()
    parts = [HEAD.format(version=tokenizers.__version__)]
    names = {"kLetter": "L", "kNumber": "N", "kSpace": "S"}
    parts += [array(name, ranges(kinds, kind)) for name, kind in names.items()]
    parts.append("// clang-format on\n")
    for function, name in (("letter", "kLetter"), ("number", "kNumber"), ("space", "kSpace")):
        parts.append(f"\nstd::span<const SplitRange> {function}_ranges() {{ return {name}Ranges; }}\n")
    parts.append("\n}  // namespace moe\n")
    sys.stdout.write("".join(parts))


if __name__ == "__main__":
    main()
