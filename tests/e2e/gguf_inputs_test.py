"""Hostile GGUF files through `import`: each is refused with one error that names it, and no run is made."""

import json
import struct

from support import CHECKPOINT, USAGE, Case, limited, main, makemoe

GUARD = limited(AS=3 << 30)  # [bytes] what slips through fails here instead of taking the machine
SCALARS = "BbHhIif?"
TEXT_TYPE, LIST_TYPE, U32 = 8, 9, 4
FORMATS = {**dict(enumerate(SCALARS)), 10: "Q", 11: "q", 12: "d"}
F32, Q4_K = 0, 12
MODERN = ("model.norm=rms", "model.positions=rotary", "model.bias=false", "model.moe.activation=swiglu", "model.moe.router=topk",
          "model.moe.expert_width=32", "model.qk_norm=head")


def packed_text(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


class Gguf:
    """A sound file in parts that can be changed: keys {name: (type, value)}, tensors {name: (sizes, type, bytes)}."""

    def __init__(self, content):
        self.content, self.at = content, 8
        tensors, keys = self.take("Q"), self.take("Q")
        self.keys = dict(self.key() for _ in range(keys))
        infos = [(self.text(), [self.take("Q") for _ in range(self.take("I"))], self.take("I"), self.take("Q")) for _ in range(tensors)]
        data = self.padded(self.at)
        places = [info[3] for info in infos] + [len(content) - data]
        self.tensors = {name: (sizes, kind, content[data + begin:data + end])
                        for (name, sizes, kind, begin), end in zip(infos, places[1:])}

    @staticmethod
    def padded(at):
        return (at + 31) // 32 * 32

    def take(self, form):
        value, = struct.unpack_from("<" + form, self.content, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def text(self):
        size = self.take("Q")
        self.at += size
        return self.content[self.at - size:self.at].decode()

    def value(self, kind):
        if kind == TEXT_TYPE:
            return self.text()
        if kind == LIST_TYPE:
            of = self.take("I")
            return of, [self.value(of) for _ in range(self.take("Q"))]
        return self.take(FORMATS[kind])

    def key(self):
        name, kind = self.text(), self.take("I")
        return name, (kind, self.value(kind))

    def packed(self, kind, value):
        if kind == TEXT_TYPE:
            return packed_text(value)
        if kind == LIST_TYPE:
            of, values = value
            return struct.pack("<IQ", of, len(values)) + b"".join(self.packed(of, one) for one in values)
        return struct.pack("<" + FORMATS[kind], value)

    def bytes(self, keys=None, tensors=None):
        keys, tensors = self.keys if keys is None else keys, self.tensors if tensors is None else tensors
        out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
        for name, (kind, value) in keys.items():
            out += packed_text(name) + struct.pack("<I", kind) + self.packed(kind, value)
        at = 0
        for name, (sizes, kind, data) in tensors.items():
            out += packed_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, at)
            at += self.padded(len(data))
        out = out.ljust(self.padded(len(out)), b"\0")
        return out + b"".join(data.ljust(self.padded(len(data)), b"\0") for _, _, data in tensors.values())


def changed_config(gguf, change):
    config = json.loads(gguf.keys["makemoe.config"][1])
    change(config["model"])
    return with_key(gguf, "makemoe.config", TEXT_TYPE, json.dumps(config))


def with_key(gguf, name, kind, value):
    return gguf.bytes({**gguf.keys, name: (kind, value)})


def without_key(gguf, name):
    return gguf.bytes({key: value for key, value in gguf.keys.items() if key != name})


def with_tensor(gguf, name, sizes=None, kind=None, data=None, called=None):
    old = gguf.tensors[name]
    new = tuple(was if now is None else now for now, was in zip((sizes, kind, data), old))
    return gguf.bytes(tensors={called if key == name and called else key: new if key == name else value
                               for key, value in gguf.tensors.items()})


def hostile_bytes(gguf, content):
    """{label: (bytes, what is said)}: files that are not GGUF."""
    front = content[:24]
    return {
        "nothing": (b"GGUF", "the version"),
        "the front alone": (front, "the number of"),
        "half of it": (content[:len(content) // 2], "ends beyond the file"),
        "one byte less": (content[:-33], "ends beyond the file"),
        "a kilobyte more": (content + b"x" * 1000, "bytes follow"),
        "version 1": (b"GGUF" + struct.pack("<I", 1) + content[8:], "version 1"),
        "version 2^31": (b"GGUF" + struct.pack("<I", 1 << 31) + content[8:], "big-endian"),
        "2^64 - 1 tensors": (content[:8] + b"\xff" * 8 + content[16:], "the number of tensors"),
        "2^64 - 1 keys": (content[:16] + b"\xff" * 8 + content[24:], "the number of keys"),
        "one key more": (content[:16] + struct.pack("<Q", len(gguf.keys) + 1) + content[24:], ""),
        "one tensor less": (content[:8] + struct.pack("<Q", len(gguf.tensors) - 1) + content[16:], "bytes follow"),
        "a key of 2^63 bytes": (front + struct.pack("<Q", 1 << 63) + content[32:], "takes 9223372036854775808"),
        "zeros behind the front": (front + b"\0" * (len(content) - 24), "has 0 bytes"),
    }


def hostile_keys(gguf):
    """{label: (bytes, what is said)}: keys that are no model of ours, or another's than the file's config says."""
    arch = "qwen3moe."
    out = {f"no {name}": (without_key(gguf, name), name) for name in ("general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.tokens")}
    for name, value in (("block_count", 3), ("embedding_length", 64), ("attention.head_count", 2), ("attention.head_count_kv", 3),
                        ("attention.head_count_kv", 0), ("attention.key_length", 4), ("rope.dimension_count", 4), ("expert_count", 5),
                        ("expert_used_count", 1), ("expert_feed_forward_length", 16), ("context_length", 1 << 31)):
        out[f"{name} {value}"] = with_key(gguf, arch + name, U32, value), arch + name
    for name, kind, value in (("rope.freq_base", 6, 1e6), ("attention.layer_norm_rms_epsilon", 6, 1e-5), ("rope.freq_base", 6, float("nan")),
                              ("attention.head_count", LIST_TYPE, (U32, [4, 4])), ("block_count", TEXT_TYPE, "two"),
                              ("expert_count", 11, -1), ("rope.scaling.type", TEXT_TYPE, "yarn"), ("attention.sliding_window", U32, 8),
                              ("expert_weights_scale", 6, 2.0), ("embedding_length", 10, (1 << 64) - 1)):
        out[f"{name} as {kind} {value}"] = with_key(gguf, arch + name, kind, value), arch + name
    out["another architecture"] = with_key(gguf, "general.architecture", TEXT_TYPE, "gemma3"), "gemma3"
    out["architecture as a number"] = with_key(gguf, "general.architecture", U32, 3), "general.architecture"
    out["one of another twin"] = with_key(gguf, "general.architecture", TEXT_TYPE, "llama"), "llama"
    return out


def hostile_configs(gguf):
    """{label: (bytes, what is said)}: what stands in the place of makemoe's own config."""
    texts = {"no JSON": ("{", "line 1"), "a list": ("[]", "makemoe.config"), "a number": ("1e999", "makemoe.config"),
             "nested 10,000 deep": ("[" * 10_000, "nested"), "a key twice": ('{"model": {}, "model": {}}', "model"),
             "an unknown key": ('{"model": {"n_layers": 2}}', "n_layers"), "a text": ('{"model": "large"}', "model"),
             "nothing": ("", "makemoe.config")}
    out = {f"config: {label}": (with_key(gguf, "makemoe.config", TEXT_TYPE, text), says) for label, (text, says) in texts.items()}
    for label, change, says in (
            ("more layers", {"n_layer": 512}, "block_count"), ("odd heads", {"n_head": 3}, "n_head"),
            ("another norm", {"norm": "layer"}, "model.norm"), ("a layer of -1", {"n_layer": -1}, "n_layer"),
            ("a width of 2^40", {"n_embed": 1 << 40}, "n_embed"), ("n-grams", {"ngram": {"orders": [2]}}, "model.ngram.orders"),
            ("tied", {"tied": True}, "output.weight"), ("a wide context", {"block_size": 64}, "context_length")):
        out[f"config: {label}"] = changed_config(gguf, lambda model, change=change: model.update(change)), says
    out["config as a number"] = with_key(gguf, "makemoe.config", U32, 1), "makemoe.config"
    return out


def hostile_tensors(gguf):
    name, (sizes, _, data) = "blk.0.attn_k.weight", gguf.tensors["blk.0.attn_k.weight"]
    nan = struct.pack("<f", float("nan"))
    lacking = {key: value for key, value in gguf.tensors.items() if key != name}
    return {
        "a tensor missing": (gguf.bytes(tensors=lacking), f'"{name}": missing'),
        "no tensors": (gguf.bytes(tensors={}), "missing"),
        "a tensor more": (gguf.bytes(tensors={**gguf.tensors, "rope_freqs.weight": ([4], F32, b"\0" * 16)}), "rope_freqs"),
        "a bias more": (gguf.bytes(tensors={**gguf.tensors, "blk.0.attn_k.bias": ([32], F32, b"\0" * 128)}), "attn_k.bias"),
        "a name of control characters": (with_tensor(gguf, name, called="blk.0.\x1b[31m"), "missing"),
        "a name that is long": (with_tensor(gguf, name, called="k" * 5000), "5000 bytes"),
        "a shape turned": (with_tensor(gguf, "output.weight", sizes=list(reversed(gguf.tensors["output.weight"][0]))), "shape"),
        "a shape of one row less": (with_tensor(gguf, name, sizes=[sizes[0], sizes[1] - 1], data=data[:-4 * sizes[0]]), "shape"),
        "a shape that overflows": (with_tensor(gguf, name, sizes=[1 << 62, 1 << 62]), "overflows"),
        "a size of 2^63": (with_tensor(gguf, name, sizes=[1 << 63]), "a dimension of"),
        "five dimensions": (with_tensor(gguf, name, sizes=[*sizes, 1, 1, 1]), "5 dimensions"),
        "a type of K-quants": (with_tensor(gguf, name, sizes=[256, 4], kind=Q4_K, data=b"\0" * 576), "Q4_K"),
        "a type that is none": (with_tensor(gguf, name, kind=99), "type 99"),
        "integers": (with_tensor(gguf, name, kind=26), "I32"),
        "NaN": (with_tensor(gguf, name, data=nan + data[4:]), "NaN or infinity"),
        "infinity in a norm": (with_tensor(gguf, "output_norm.weight", data=struct.pack("<f", float("inf")) + b"\0" * 124), "output_norm"),
    }


def hostile_tokenizers(gguf):
    model, tokens, types = (f"tokenizer.ggml.{name}" for name in ("model", "tokens", "token_type"))
    of, symbols = gguf.keys[tokens][1]
    return {
        "tokenizer: another kind": (with_key(gguf, model, TEXT_TYPE, "llama"), '"llama"'),
        "tokenizer: gpt2 without merges": (with_key(gguf, model, TEXT_TYPE, "gpt2"), "tokenizer.ggml.pre"),
        "tokenizer: a symbol less": (with_key(gguf, tokens, LIST_TYPE, (of, symbols[:-1])), "token_type"),
        "tokenizer: a symbol less of both": (gguf.bytes({**gguf.keys, tokens: (LIST_TYPE, (of, symbols[:-1])),
                                                         types: (LIST_TYPE, (5, [1] * (len(symbols) - 1)))}), "vocab_size"),
        "tokenizer: not sorted": (with_key(gguf, tokens, LIST_TYPE, (of, symbols[::-1])), "out of order"),
        "tokenizer: not UTF-8": (with_key(gguf, tokens, LIST_TYPE, (of, [b"\xff", *symbols[1:]])), "not UTF-8"),
        "tokenizer: numbers": (with_key(gguf, tokens, LIST_TYPE, (5, [1, 2, 3])), "no list of texts"),
        "tokenizer: types as texts": (with_key(gguf, types, LIST_TYPE, (8, ["a"])), "token_type"),
        "tokenizer: nothing": (with_key(gguf, tokens, LIST_TYPE, (8, [])), "is empty"),
    }


class HostileGguf(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        run, cls.file = cls.home / "run", cls.home / "sound.gguf"
        result = cls.train_small(run, *[word for key in MODERN for word in ("--set", key)])
        assert result.code == 0, result
        cls.run_folder = run
        assert makemoe("export", run, "--format", "gguf", "--out", cls.file).code == 0
        cls.content = cls.file.read_bytes()
        cls.gguf = Gguf(cls.content)

    def refuse_files(self, cases):
        arguments = {}
        for number, (label, (content, says)) in enumerate(cases.items()):
            file = self.folder / f"hostile-{number}.gguf"
            file.write_bytes(content)
            arguments[label] = ("import", file, "--out", self.folder / f"run-{number}"), (f"hostile-{number}.gguf", says)
        self.refuse_all(CHECKPOINT, arguments, preexec_fn=GUARD)

    def test_the_parts_of_a_sound_file_are_that_file(self):
        self.assertEqual(self.gguf.bytes(), self.content)
        self.done("import", self.file, "--out", self.folder / "run")

    def test_bytes(self):
        self.refuse_files(hostile_bytes(self.gguf, self.content))

    def test_keys(self):
        self.refuse_files(hostile_keys(self.gguf))

    def test_configs(self):
        self.refuse_files(hostile_configs(self.gguf))

    def test_tensors(self):
        self.refuse_files(hostile_tensors(self.gguf))

    def test_tokenizers(self):
        self.refuse_files(hostile_tokenizers(self.gguf))

    def test_the_command_line(self):
        out = self.folder / "out.gguf"
        export = ("export", self.run_folder, "--format")
        self.refuse_all(USAGE, {
            "a dtype that is none": ((*export, "gguf", "--dtype", "q4_0", "--out", out), "q4_0"),
            "a dtype for the original": ((*export, "makemoe", "--dtype", "f16", "--out", out), "--dtype"),
            "q8_0 for a folder": ((*export, "hf", "--dtype", "q8_0", "--out", out), "q8_0"),
            "force for a file": ((*export, "gguf", "--force", "--out", out), "--force"),
            "data besides": (("import", self.file, "--data", self.text, "--out", out), "--data"),
            "a vocabulary besides": (("import", self.file, "--vocab", self.run_folder / "tokenizer.json", "--out", out), "--vocab"),
        })

    def test_nan_is_let_in_where_it_is_asked_for(self):
        content, _ = hostile_tensors(self.gguf)["NaN"]
        (self.folder / "nan.gguf").write_bytes(content)
        self.done("import", self.folder / "nan.gguf", "--out", self.folder / "run", "--allow-nonfinite")


if __name__ == "__main__":
    main(at_least=85)
