"""Runs where the wheels tokenizers or tiktoken are installed. Not a test: tokenizers_test.py asks it.

Standard input: questions, one JSON object a line; standard output: an answer a line.
"""

import base64
import json
import sys

END = "<|endoftext|>"
# GPT-2's, as tiktoken writes it.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def splitter():
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def chunks(texts):
    """Of each text the bytes of its chunks: a character of the alphabet stands for one byte."""
    split = splitter().pre_tokenize_str
    return [[len(piece) for piece, _ in split(text)] for text in texts]


def train(texts, vocab_size, min_frequency, out):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter(), decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=[END], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.save(out, pretty=True)


def encode(file, text, as_token):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(file)
    tokenizer.encode_special_tokens = not as_token
    return tokenizer.encode(text).ids


def decode(file, ids):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(file).decode(ids, skip_special_tokens=False)


def rank_encode(file, text):
    """tiktoken's ids of a text by a file of base64 and ranks."""
    import tiktoken

    with open(file, encoding="ascii") as lines:
        ranks = {base64.b64decode(token): int(rank) for token, rank in map(str.split, lines)}
    return tiktoken.Encoding("own", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={}).encode_ordinary(text)


def main():
    for line in sys.stdin:
        question = json.loads(line)
        answer = globals()[question.pop("ask")](**question)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
