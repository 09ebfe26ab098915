#!/usr/bin/env python3
"""Writes tests/golden/bpe.json: what Hugging Face's tokenizers does with texts in several scripts.

    pip install tokenizers && tests/golden/write_bpe.py

tests/data holds makemoe's splitter, trainer, encoder, decoder and file against it. It has
  wheel      the version that was asked
  classes    sha256 of a letter for each code point: L letter, N number, S white space, O other
  splits     texts, and the bytes of each chunk
  trained    texts, what was asked of the trainer, its merges, the sha256 of the tokenizer.json that was
             saved, the ids of the text, and the sha256 of the ids (with commas) of a hostile one, without
             and with special tokens; "hostile" is that text, for all
  decoded    ids (of the first tokenizer in `trained`) and their text, with special tokens and without
"""

import hashlib
import json
import pathlib
import random

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

OUT = pathlib.Path(__file__).with_name("bpe.json")
END = "<|endoftext|>"

SENTENCES = {
    "latin": "The keeper's lamp won't burn all night; they've said it'll last until four o'clock. Élan, naïveté and "
             "a 12-euro café au lait: we're fine, I'd say, and you'd agree. Straßen, Größe, año 1999, façade.",
    "cyrillic": "Смотритель маяка зажигает лампу каждый вечер. Море шумит, и ветер не стихает до утра. "
                "Кораблей сегодня было двадцать три, а вчера только 17.",
    "greek": "Ο φύλακας του φάρου ανάβει τη λάμπα κάθε βράδυ. Η θάλασσα βουίζει και ο άνεμος δεν σταματά ως το "
             "πρωί. Τα πλοία ήταν είκοσι, χθες μόνο 8.",
    "arabic": "يشعل حارس المنارة المصباح كل مساء. البحر هائج والريح لا تهدأ حتى الصباح. مرت اليوم عشرون سفينة، وأمس ٧ فقط.",
    "hebrew": "שומר המגדלור מדליק את המנורה בכל ערב. הים סוער והרוח אינה נרגעת עד הבוקר. היום עברו 20 ספינות, אתמול רק 5.",
    "devanagari": "दीपघर का रखवाला हर शाम दीया जलाता है। समुद्र गरजता है और हवा सुबह तक नहीं थमती। आज २० जहाज़ आए, कल केवल ५।",
    "chinese": "守塔人每天晚上点亮灯。海在咆哮，风直到早晨才停。今天来了二十艘船，昨天只有７艘。灯塔很高，灯光很亮。",
    "japanese": "灯台守は毎晩ランプに火をともす。海は荒れ、風は朝までやまない。今日は船が二十隻、昨日は７隻だけだった。",
    "korean": "등대지기는 매일 저녁 등불을 켠다. 바다는 울부짖고 바람은 아침까지 멎지 않는다. 오늘은 배가 20척, 어제는 7척뿐이었다.",
    "emoji": "🌊🌊 🚢 👩‍🚀👨‍👩‍👧‍👦 🇩🇪🇯🇵 ❤️ ☂️ 👍🏽👍🏿 1️⃣ 2️⃣ 🌊🚢🌊 zzz😴😴😴 ok👌 e\u0301 n\u0303 ½ ² Ⅷ ①",
    "code": "def keep(lamp, *, until=4):\n    if lamp.oil <= 0x1F:\n\t\treturn None  # it's dark\n    while True:\n"
            "        lamp.burn(1.5e-3)\r\n\n\n    std::vector<int> v{1, 2, 3}; a->b[i++] |= ~c && !d;\n",
}

HOSTILE = [
    "", " ", "  ", "\n", " \n ", "a", " a", "  a", "   a  ", "a ", "a  b", "a\t b", "a \tb", "\u00a0a", " \u00a0 a", "\u3000\u3000x",
    "\u2028\u2029x", "a\u0085b", "\u180e\u200b\ufeffx", "'s", " 's", "''s", "it's", "it'S", "it 's", "'ll 've 're 'm 'd 't", "'l'l'll", "'", "'r",
    "'vex", "don't'd've", "x\u2019s", "1'2's3", "a1b2", " 1 a .", "½¾²ⅣⅫ٣३", "e\u0301e\u0301", "\u0301a", "\U0001F600a", "a\x00b\x01",
    "\U0010FFFD\U000E0001", "\ud7ff\ue000", "\r\n\r\n", "a\r\n b", " " * 70, "a" * 300, "!" * 200, "é" * 100, "ab" * 150, "ab " * 60,
    "\t\t\t\tif", "  \n  \n  x", "...  ...", "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>",
    "<|endoftext|", "<<|endoftext|>>",
]


def hostile_texts():
    """Random strings over what the splitter treats in different ways."""
    draws = random.Random(17)
    symbols = [*" '  \n\tstrevmlld", "a", "Z", "é", "ß", "я", "1", "٣", "½", ".", "-", "\u00a0", "\u3000", "\u0301", "漢", "🌊", "\u200d", "\u2028",
               "'s", "'ll", "'re"]
    return HOSTILE + ["".join(draws.choice(symbols) for _ in range(draws.randint(2, 40))) for _ in range(300)]


def long_text(name):
    """The sentences, then their words in another order, some much more often than others."""
    draws = random.Random(name)
    words = SENTENCES[name].split(" ")
    more = [words[int(len(words) * draws.random() ** 2)] for _ in range(200)]
    return SENTENCES[name] + " " + " ".join(more)


def tiny_texts():
    """Few symbols, many repeats: pairs that overlap, merges that make a token a second time."""
    draws = random.Random(5)
    for alphabet in ["ab", "abc", "aé", "ab ", "日本", "aab"]:
        for length in (60, 400):
            yield "".join(draws.choice(alphabet) for _ in range(length))


def splitter():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def chunk_bytes(text):
    """One character of the alphabet stands for one byte."""
    return [len(piece) for piece, _ in splitter().pre_tokenize_str(text)]


def classes():
    ask = splitter()
    letters = []
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            letters.append("O")
            continue
        alone = [name for near, name in (("a", "L"), ("1", "N"), ("!", "O")) if len(ask.pre_tokenize_str(near + chr(code))) == 1]
        letters.append(alone[0] if alone else "S")
    return hashlib.sha256("".join(letters).encode()).hexdigest()


def train(text, vocab_size, min_frequency):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter(), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=[END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def encode(tokenizer, text, as_token):
    tokenizer.encode_special_tokens = not as_token
    return tokenizer.encode(text).ids


def sum_of(ids):
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def case(name, text, vocab_size, min_frequency, hostile):
    tokenizer = train(text, vocab_size, min_frequency)
    saved = tokenizer.to_str(pretty=True)
    return {"name": name, "text": text, "vocab_size": vocab_size, "min_frequency": min_frequency,
            "merges": [" ".join(merge) for merge in json.loads(saved)["model"]["merges"]],
            "file_sha256": hashlib.sha256(saved.encode()).hexdigest(),
            "ids": encode(tokenizer, text, False),
            "hostile_ids": sum_of(encode(tokenizer, hostile, False)),
            "hostile_ids_with_tokens": sum_of(encode(tokenizer, hostile, True))}


def decoded(tokenizer):
    draws = random.Random(3)
    size = tokenizer.get_vocab_size()
    rows = []
    for _ in range(150):
        ids = [draws.choice([0, draws.randrange(1, 257), draws.randrange(size)]) for _ in range(draws.randint(1, 12))]
        rows.append([ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids, skip_special_tokens=True)])
    return rows


def main():
    hostile = "".join(HOSTILE)
    trained = [case(name, long_text(name), 420 + 10 * place, place % 4, hostile) for place, name in enumerate(SENTENCES)]
    trained.append(case("all", "\n".join(SENTENCES.values()), 1000, 0, hostile))
    trained += [case(f"tiny{place}", text, 257 + 40 * (1 + place % 5), place % 3, hostile)
                for place, text in enumerate(tiny_texts())]
    rows = {"wheel": tokenizers.__version__, "classes": classes(), "hostile": hostile,
            "splits": [[text, chunk_bytes(text)] for text in hostile_texts()],
            "trained": trained, "decoded": decoded(train(long_text("latin"), 420, 0))}
    OUT.write_text(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
