"""Folders of `export --format hf` and `import` of them, without transformers: bit for bit, whole, and hostile ones refused."""

import json
import shutil
import struct

from support import (CHECKPOINT, DATA, RESOURCES, SOURCE, TEXT, USAGE, Case, main, makemoe, read_safetensors, safetensors, tree)
from variants_test import VARIANTS

MODERN = ["model.norm=rms", "model.positions=rotary", "model.bias=false", "model.moe.activation=swiglu", "model.moe.router=topk",
          "model.moe.expert_width=24"]
QK = "model.qk_norm=head"
SIGMOID = ["model.moe.gate=sigmoid", "model.moe.shared_experts=1"]
TWINS = {"mixtral": [], "tied and folded": ["model.tied=true", "model.attention_scale=n_embed"],
         "qwen3_moe": [QK, "model.moe.gate=softmax_topk", "model.moe.dense_layers=[0]", "model.attention_scale=n_embed"],
         "granitemoeshared": ["model.moe.shared_experts=2"], "granitemoe": ["model.attention_scale=n_embed", "model.n_head=2"],
         "qwen2_moe": ["model.moe.shared_experts=2", "model.moe.shared_gate=true"],
         "glm4_moe": SIGMOID, "dots1": [*SIGMOID, QK, "model.moe.balance.kind=loss_free", "model.moe.dense_layers=[0]"],
         "llama": ["model.moe.num_experts=0", "model.moe.shared_experts=2"],
         "qwen3": ["model.moe.num_experts=0", "model.moe.shared_experts=1", QK]}
BPE = ["data.tokenizer=bpe", "data.vocab_size=300"]


def settings(keys):
    return [word for key in keys for word in ("--set", key)]


def train(run, keys, steps=3):
    return makemoe("train", "--config", SOURCE / "configs" / "tiny.json", "--data", TEXT, "--out", run,
                   *settings(["model.n_layer=2", "train.batch_size=2", f"train.max_iters={steps}", "train.eval_interval=1000",
                              "eval.mode=random", "eval.eval_iters=1", "threads=1", *keys]))


def weights_of(run):
    step = sorted((run / "checkpoints").glob("step-*"))[-1]
    header, data = read_safetensors((step / "model.safetensors").read_bytes())
    return {name: data[slice(*info["data_offsets"])] for name, info in header.items()}


class Folders(Case):
    def trained(self, name, keys):
        run = self.folder / name.replace(" ", "_")
        result = train(run, keys)
        self.assertEqual(result.code, 0, result)
        return run

    def exported(self, run, *arguments):
        out = run.with_name(run.name + "-hf")
        self.done("export", run, "--format", "hf", "--out", out, *arguments)
        return out

    def imported(self, folder, *arguments, name="imported"):
        run = folder.with_name(f"{folder.name}-{name}")
        self.done("import", folder, "--out", run, *arguments)
        return run


class RoundTrips(Folders):
    def assert_round_trip(self, name, keys):
        run = self.trained(name, keys)
        folder = self.exported(run)
        back = self.imported(folder)
        self.assertEqual(weights_of(back), weights_of(run))
        model, again = (json.loads((one / "config.json").read_text())["model"] for one in (run, back))
        self.assertEqual(model, again)
        self.assertEqual((run / "tokenizer.json").read_bytes(), (back / "tokenizer.json").read_bytes())
        self.assertEqual(tree(self.exported(back)), tree(folder))

    def test_each_twin_comes_back_bit_for_bit(self):
        for name, keys in TWINS.items():
            with self.subTest(name):
                self.assert_round_trip(name, [*MODERN, *keys])

    def test_each_other_model_does(self):
        for name, keys in VARIANTS.items():
            with self.subTest(name):
                self.assert_round_trip(name, keys)

    def test_models_of_subwords_do(self):
        for name, keys in {"twin": MODERN, "own": ["model.ngram.orders=[2]", "model.ngram.min_count=2"]}.items():
            with self.subTest(name):
                self.assert_round_trip(name, [*keys, *BPE])

    def test_noise_is_left_out_of_a_twin_with_a_warning_and_all_else_comes_back(self):
        run = self.trained("noisy", [*MODERN, "model.moe.router=noisy_topk", "model.moe.balance.kind=importance_load"])
        out = self.folder / "out"
        self.assertIn("noise", self.done("export", run, "--format", "hf", "--out", out).err)
        back = weights_of(self.imported(out))
        for name, values in weights_of(run).items():
            if "noise_linear" not in name:
                self.assertEqual(back[name.replace("topkroute_linear", "linear")], values, name)

    def test_of_fewer_bits_come_back_what_they_hold(self):
        run = self.trained("bits", MODERN)
        folder = self.exported(run, "--dtype", "bf16")
        ours, back = weights_of(run), weights_of(self.imported(folder))
        self.assertEqual(ours.keys(), back.keys())
        for name, values in back.items():
            for (got,), (was,) in zip(struct.iter_unpack("<f", values), struct.iter_unpack("<f", ours[name]), strict=True):
                self.assertLessEqual(abs(got - was), abs(was) * 2**-8 + 1e-37, name)
        again = self.exported(self.imported(folder, name="second"), "--dtype", "bf16")
        self.assertEqual(tree(again), tree(folder))

    def test_without_our_section_a_twin_is_the_model_that_others_would_see(self):
        for name in ("tied and folded", "granitemoeshared", "dots1", "qwen2_moe", "llama"):
            with self.subTest(name):
                run = self.trained(name, [*MODERN, *TWINS[name]])
                folder = self.exported(run)
                config = json.loads((folder / "config.json").read_text())
                del config["makemoe"]
                (folder / "config.json").write_text(json.dumps(config))
                back = self.imported(folder)
                text = self.folder / "text"
                text.write_text("The keeper")
                losses = [json.loads(self.done("eval", one, "--data", text, "--json", "--set", "eval.mode=full").out)["loss"]
                          for one in (run, back)]
                self.assertAlmostEqual(*losses, delta=1e-5)  # a factor that was folded stays so: other roundings

    def test_a_section_that_says_otherwise_is_passed_over_with_a_warning(self):
        folder = self.exported(self.trained("other", MODERN))
        config = json.loads((folder / "config.json").read_text())
        config["makemoe"]["model"]["rotary_base"] = 500
        (folder / "config.json").write_text(json.dumps(config))
        result = self.done("import", folder, "--out", self.folder / "run")
        self.assertIn("says otherwise", result.err)
        self.assertEqual(json.loads((self.folder / "run" / "config.json").read_text())["model"]["rotary_base"], 10000)

    def test_an_imported_run_is_looked_at_continued_and_written_with(self):
        folder = self.exported(self.trained("used", [*MODERN, QK]))
        config = self.folder / "config.json"
        config.write_text(json.dumps({"train": {"max_iters": 2, "batch_size": 2}, "optim": {"learning_rate": 0.01},
                                      "eval": {"mode": "random", "eval_iters": 1}, "threads": 1}))
        run = self.imported(folder, "--config", config)
        self.assertEqual(json.loads((run / "config.json").read_text())["optim"]["learning_rate"], 0.01)
        self.done("eval", run, "--data", self.text)
        self.done("generate", run, "--max-new-tokens", 5)
        self.done("inspect", run, "--data", self.text)
        self.done("train", "--resume", "--out", run, "--data", self.text)
        self.assertEqual(json.loads(self.done("info", f"{run}@last", "--json").out)["step"], 2)


class Places(Folders):
    """Where folders are written, and what is left of them."""

    def setUp(self):
        super().setUp()
        self.run_folder = self.trained("run", MODERN)

    def export(self, out, *arguments, **options):
        return makemoe("export", self.run_folder, "--format", "hf", "--out", out, *arguments, **options)

    def test_an_occupied_folder_is_refused_and_left_alone_without_force(self):
        out = self.folder / "out"
        out.mkdir()
        (out / "notes").write_text("mine")
        self.refuse_all(RESOURCES, {"occupied": (("export", self.run_folder, "--format", "hf", "--out", out), "--force"),
                                    "file": (("export", self.run_folder, "--format", "hf", "--out", out / "notes"), "no folder")})
        self.assertEqual(self.export(out, "--force").code, 0)
        self.assertEqual((out / "notes").read_text(), "mine")

    def test_force_takes_away_what_would_be_read_in_the_place_of_the_new_model(self):
        out = self.folder / "out"
        own = self.trained("own", [])
        self.done("export", own, "--format", "hf", "--out", out)
        (out / "model.safetensors.index.json").write_text("{}")
        self.assertEqual(self.export(out, "--force").code, 0)
        whole = self.folder / "whole"
        self.assertEqual(self.export(whole).code, 0)
        self.assertEqual(tree(out), tree(whole))

    def test_an_empty_folder_and_a_link_to_one_are_filled(self):
        empty, link = self.folder / "empty", self.folder / "link"
        empty.mkdir()
        self.assertEqual(self.export(empty).code, 0)
        (self.folder / "elsewhere").mkdir()
        link.symlink_to(self.folder / "elsewhere")
        self.assertEqual(self.export(link).code, 0)
        self.assertTrue(link.is_symlink())
        self.assertEqual(tree(self.folder / "elsewhere"), tree(empty))

    def test_a_write_that_fails_or_a_crash_at_any_moment_leaves_no_folder_that_is_taken_for_a_model(self):
        whole = self.folder / "whole"
        self.assertEqual(self.export(whole).code, 0)
        before = tree(whole)
        for kind in ("ENOSPC", "crash"):
            for new in (True, False):
                for at in range(1, 60):
                    out = self.folder / f"{kind}-{new}-{at}"
                    if not new:
                        shutil.copytree(whole, out)
                        (out / "config.json").write_text("{}")
                    result = self.export(out, "--force", env={"MAKEMOE_TEST_FAULT": f"{kind}@{at}"})
                    if result.code == 0:
                        break
                    if (out / "config.json").exists() and (out / "config.json").read_text() != "{}":
                        self.assertEqual(tree(out), before, (kind, new, at))
                    shutil.rmtree(out, ignore_errors=True)
                self.assertGreater(at, 8)

    def test_flags_that_do_not_fit_the_format_are_refused(self):
        out = self.folder / "out"
        export = ("export", self.run_folder, "--out", out)
        self.refuse_all(USAGE, {"dtype": ((*export, "--dtype", "bf16"), "--dtype"), "force": ((*export, "--force"), "--force"),
                                "q8_0": ((*export, "--format", "hf", "--dtype", "q8_0"), "q8_0"),
                                "unknown": ((*export, "--format", "hf", "--dtype", "f64"), "f64"),
                                "onnx": ((*export, "--format", "onnx"), "onnx"),
                                "standard output": (("export", self.run_folder, "--format", "hf", "--out", "-"), "folder")})


def changed(**values):
    """Keys of config.json; a value of ... takes the key away."""
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        for key, value in values.items():
            config[key] = value
            if value is ...:
                del config[key]
        (folder / "config.json").write_text(json.dumps(config))
    return change


def written(name, content):
    def change(folder):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return change


def removed(name):
    return lambda folder: (folder / name).unlink()


def tensors(change):
    """`change` gets (header, data) of model.safetensors and may return others."""
    def apply(folder):
        header, data = read_safetensors((folder / "model.safetensors").read_bytes())
        header, data = change(header, data) or (header, data)
        (folder / "model.safetensors").write_bytes(safetensors(header, data))
    return apply


def of_tensor(name, **values):
    def change(header, data):
        header[name].update(values)
    return tensors(change)


def renamed(old, new):
    def change(header, data):
        header[new] = header.pop(old)
    return tensors(change)


def with_nan(header, data):
    begin = header["model.norm.weight"]["data_offsets"][0]
    return header, data[:begin] + struct.pack("<f", float("nan")) + data[begin + 4 :]


def sharded(folder, change=lambda index: None):
    """Two files and an index, which `change` then gets."""
    header, data = read_safetensors((folder / "model.safetensors").read_bytes())
    header.pop("__metadata__", None)
    names, index = sorted(header), {"metadata": {}, "weight_map": {}}
    for number, part in enumerate((names[::2], names[1::2])):
        pieces, own = b"", {}
        for name in part:
            piece = data[slice(*header[name]["data_offsets"])]
            own[name] = {**header[name], "data_offsets": [len(pieces), len(pieces) + len(piece)]}
            pieces += piece
            index["weight_map"][name] = f"model-{number}.safetensors"
        (folder / f"model-{number}.safetensors").write_bytes(safetensors(own, pieces))
    (folder / "model.safetensors").unlink()
    change(index["weight_map"])
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def of_map(**values):
    def change(places):
        for key, value in values.items():
            places[key.replace("__", ".")] = value
    return lambda folder: sharded(folder, change)


def both(*changes):
    def apply(folder):
        for change in changes:
            change(folder)
    return apply


NORM, HEAD, ROUTER = "model.norm.weight", "lm_head.weight", "model.layers.0.block_sparse_moe.gate.weight"
SECTION = "makemoe"

# What is done to a sound folder of mixtral's, and what the error has to say.
CONFIGS = {
    "no config": (removed("config.json"), "config.json"),
    "empty": (written("config.json", ""), "config.json"),
    "no JSON": (written("config.json", "model_type: mixtral"), "config.json"),
    "cut off": (written("config.json", '{"model_type": "mixtral"'), "config.json"),
    "a list": (written("config.json", "[]"), "no JSON object"),
    "null": (written("config.json", "null"), "no JSON object"),
    "two values": (written("config.json", "{}{}"), "config.json"),
    "a mark of byte order": (written("config.json", b"\xef\xbb\xbf{}"), "config.json"),
    "no UTF-8": (written("config.json", b'{"model_type": "\xff"}'), "config.json"),
    "a key twice": (written("config.json", '{"model_type": "mixtral", "model_type": "llama"}'), "model_type"),
    "deep": (written("config.json", "[" * 100000), "config.json"),
    "NaN": (written("config.json", '{"rms_norm_eps": NaN}'), "config.json"),
    "beyond a double": (written("config.json", '{"rms_norm_eps": 1e400}'), "config.json"),
    "no kind": (changed(model_type=...), "model_type"),
    "kind is a number": (changed(model_type=7), "model_type"),
    "kind unknown": (changed(model_type="gpt2\n\x1b[31m"), "gpt2"),
    "ours without a section": (changed(model_type="makemoe", makemoe=...), SECTION),
    "no vocabulary": (changed(vocab_size=0), "vocab_size"),
    "vocabulary below 0": (changed(vocab_size=-1), "vocab_size"),
    "vocabulary as text": (changed(vocab_size="59"), "vocab_size"),
    "vocabulary of 2^63": (changed(vocab_size=2**63), "vocab_size"),
    "vocabulary that is another": (changed(vocab_size=58), "--vocab"),
    "a fraction": (changed(vocab_size=59.5), "vocab_size"),
    "width missing": (changed(hidden_size=...), "hidden_size"),
    "width 0": (changed(hidden_size=0), "hidden_size"),
    "width null": (changed(hidden_size=None), "hidden_size"),
    "width no multiple": (changed(hidden_size=33), "hidden_size"),
    "width huge": (changed(hidden_size=2**30, head_dim=...), "n_embed"),
    "width another": (changed(hidden_size=64, head_dim=...), "shape"),
    "no layers": (changed(num_hidden_layers=0), "num_hidden_layers"),
    "too many layers": (changed(num_hidden_layers=100000), "n_layer"),
    "layers that are missing": (changed(num_hidden_layers=3), "missing"),
    "layers that are too many": (changed(num_hidden_layers=1), "no such tensor"),
    "no heads": (changed(num_attention_heads=0), "num_attention_heads"),
    "heads as a list": (changed(num_attention_heads=[4]), "num_attention_heads"),
    "heads that do not divide": (changed(num_attention_heads=5), "heads"),
    "heads of odd width": (changed(num_attention_heads=32, num_key_value_heads=32, head_dim=1), "rotary"),
    "key heads 0": (changed(num_key_value_heads=0), "num_key_value_heads"),
    "key heads that do not divide": (changed(num_key_value_heads=3), "num_key_value_heads"),
    "more key heads": (changed(num_key_value_heads=8), "num_key_value_heads"),
    "fewer key heads than the files": (changed(num_key_value_heads=2), "shape"),
    "wide heads": (changed(head_dim=64), "head_dim"),
    "no context": (changed(max_position_embeddings=0), "max_position_embeddings"),
    "a huge context": (changed(max_position_embeddings=10**9), "block_size"),
    "another eps": (changed(rms_norm_eps=1e-5), "rms_norm_eps"),
    "eps as text": (changed(rms_norm_eps="small"), "rms_norm_eps"),
    "no base": (changed(rope_theta=..., rope_parameters=...), "rope_theta"),
    "a base of 0": (changed(rope_theta=0, rope_parameters=...), "rotary_base"),
    "a base that is a list": (changed(rope_parameters={"rope_theta": [1]}), "rope_theta"),
    "scaled angles": (changed(rope_scaling={"type": "linear", "factor": 2}), "rope_scaling"),
    "yarn": (changed(rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0}), "rope_type"),
    "angles of a part": (changed(partial_rotary_factor=0.5), "partial_rotary_factor"),
    "an unknown parameter of angles": (changed(rope_parameters={"rope_theta": 10000.0, "x": 1}), "unknown"),
    "gelu": (changed(hidden_act="gelu"), "hidden_act"),
    "biases": (changed(attention_bias=True), "attention_bias"),
    "a window": (changed(sliding_window=8), "sliding_window"),
    "a window of text": (changed(sliding_window="8"), "sliding_window"),
    "kinds of layers": (changed(layer_types=["sliding_attention"]), "layer_types"),
    "tied as text": (changed(tie_word_embeddings="yes"), "tie_word_embeddings"),
    "tied to other values": (changed(tie_word_embeddings=True), HEAD),
    "quantized": (changed(quantization_config={"bits": 4}), "quantization_config"),
    "clipped": (changed(clip_qkv=8), "clip_qkv"),
    "no experts": (changed(num_local_experts=0), "num_local_experts"),
    "experts missing": (changed(num_local_experts=5), "missing"),
    "a million experts": (changed(num_local_experts=10**6), "num_experts"),
    "no choice": (changed(num_experts_per_tok=0), "num_experts_per_tok"),
    "more choices than experts": (changed(num_experts_per_tok=9), "top_k"),
    "no width of experts": (changed(intermediate_size=0), "intermediate_size"),
    "another width of experts": (changed(intermediate_size=23), "shape"),
    "a section that is a list": (changed(makemoe=[]), SECTION),
    "a section with more": (changed(makemoe={"model": {}, "data": {}}), SECTION),
    "a section with an unknown key": (changed(makemoe={"model": {"n_layers": 2}}), "n_layers"),
    "a section out of range": (changed(makemoe={"model": {"n_layer": -2}}), "n_layer"),
    "a section that cannot be": (changed(makemoe={"model": {"n_embed": 30, "n_head": 4}}), "n_head"),
    "ours of another shape": (changed(model_type="makemoe", makemoe={"model": {"n_embed": 8192, "n_layer": 500}}), "fewer values"),
    "more values than fit": (changed(hidden_size=16384, num_hidden_layers=500, intermediate_size=1 << 20, head_dim=...), "fewer values"),
}

WEIGHTS = {
    "no weights": (removed("model.safetensors"), "model.safetensors"),
    "weights that run code": (both(removed("model.safetensors"), written("pytorch_model.bin", b"\x80\x02")), "pytorch_model.bin"),
    "empty weights": (written("model.safetensors", b""), "header"),
    "seven bytes": (written("model.safetensors", b"1234567"), "header"),
    "a header of 2^62": (written("model.safetensors", struct.pack("<Q", 2**62) + b"{}"), "header"),
    "a header that is no JSON": (written("model.safetensors", safetensors(b"{model}")), "header"),
    "a name twice": (written("model.safetensors", safetensors(b'{"a": {}, "a": {}}')), "header"),
    "a pickle": (written("model.safetensors", b"PK\x03\x04" + bytes(60)), "model.safetensors"),
    "a tensor missing": (renamed(NORM, "model.norm"), NORM),
    "a tensor too many": (renamed(NORM, "model.nörm.weight"), "no such tensor"),
    "another shape": (of_tensor(NORM, shape=[16, 2]), "shape (16, 2)"),
    "whole numbers": (of_tensor(NORM, dtype="I32"), "I32"),
    "an unknown dtype": (of_tensor(NORM, dtype="F31"), "F31"),
    "a shape that overflows": (of_tensor(NORM, shape=[2**62, 8]), "overflows"),
    "a tensor beyond the file": (of_tensor(NORM, data_offsets=[0, 2**40]), "outside"),
    "NaN among values": (tensors(with_nan), "NaN"),
    "cut data": (tensors(lambda header, data: (header, data[:-8])), "data_offsets"),
    "bytes behind": (tensors(lambda header, data: (header, data + b"12345678")), "follow"),
    "an index that is no JSON": (written("model.safetensors.index.json", "{"), "index.json"),
    "an index without a map": (written("model.safetensors.index.json", "{}"), "weight_map"),
    "an index that is a list": (written("model.safetensors.index.json", "[]"), "weight_map"),
    "a map that is a list": (written("model.safetensors.index.json", '{"weight_map": []}'), "weight_map"),
    "an empty map": (written("model.safetensors.index.json", '{"weight_map": {}}'), "fewer values"),
    "a name of the map twice": (written("model.safetensors.index.json", '{"weight_map": {"a": "a", "a": "b"}}'), "index.json"),
    "a file above": (of_map(model__norm__weight="../model-0.safetensors"), "beside it"),
    "a file elsewhere": (of_map(model__norm__weight="/etc/model-0.safetensors"), "beside it"),
    "a file below": (of_map(model__norm__weight="a/model-0.safetensors"), "beside it"),
    "a file that is a number": (of_map(model__norm__weight=3), "beside it"),
    "a file of another kind": (of_map(model__norm__weight="config.json"), "beside it"),
    "a file with an end in it": (of_map(model__norm__weight="model-0.safetensors\x00.safetensors"), "beside it"),
    "a file that is missing": (of_map(model__norm__weight="model-2.safetensors"), "model-2.safetensors"),
    "a tensor in another file": (of_map(lm_head__weight="model-1.safetensors"), "is not in"),
    "a tensor in no file": (of_map(other="model-1.safetensors"), "is not in"),
    "a file that is a folder": (both(of_map(model__norm__weight="f.safetensors"),
                                     lambda folder: (folder / "f.safetensors").mkdir()), "f.safetensors"),
    "a tensor in two files": (both(sharded, lambda folder: shutil.copy(folder / "model-0.safetensors", folder / "model-2.safetensors"),
                                   lambda folder: (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {
                                       NORM: "model-0.safetensors", HEAD: "model-2.safetensors"}}))), "another file"),
}

TOKENIZERS = {
    "no tokenizer": (removed("tokenizer.json"), "tokenizer.json"),
    "an empty tokenizer": (written("tokenizer.json", ""), "tokenizer.json"),
    "a tokenizer of words": (written("tokenizer.json", json.dumps({"model": {"type": "WordPiece", "vocab": {"a": 0}}})), "tokenizer.json"),
    "a tokenizer with a normalizer": (written("tokenizer.json", json.dumps(
        {"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})),
        "tokenizer.json"),
}

OWN = {
    "keys missing": (renamed("ngram.2.keys", "ngram.3.keys"), "ngram.2.keys"),
    "keys of other symbols": (tensors(lambda header, data: (header, struct.pack("<q", 10**6) + data[8:])), "ngram.2.keys"),
    "keys that are floats": (of_tensor("ngram.2.keys", dtype="F64"), "ngram.2.keys"),
}


class Hostile(Folders):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, keys in {"twin": MODERN, "own": ["model.ngram.orders=[2]", "model.ngram.min_count=2"]}.items():
            for result in (train(cls.home / name, keys),
                           makemoe("export", cls.home / name, "--format", "hf", "--out", cls.home / f"{name}-hf")):
                if result.code != 0:
                    raise AssertionError(result)

    def refuse_folders(self, code, cases, sound="twin"):
        commands = {}
        for number, (label, (change, says)) in enumerate(cases.items()):
            folder = self.folder / str(number)
            shutil.copytree(self.home / f"{sound}-hf", folder)
            change(folder)
            commands[label] = (("import", folder, "--out", self.folder / f"run-{number}"), says)
        self.refuse_all(code, commands)

    def test_configs_that_we_cannot_do_are_refused(self):
        self.refuse_folders(CHECKPOINT, CONFIGS)

    def test_weights_that_are_not_those_are_refused(self):
        self.refuse_folders(CHECKPOINT, WEIGHTS)

    def test_tokenizers_that_we_do_not_have_are_refused(self):
        self.refuse_folders(DATA, TOKENIZERS)

    def test_keys_of_tables_that_are_none_are_refused(self):
        self.refuse_folders(CHECKPOINT, OWN, sound="own")

    def test_flags_that_a_folder_has_no_use_for_are_refused(self):
        folder, out = self.home / "twin-hf", ("--out", self.folder / "run")
        self.refuse_all(USAGE, {"a text": (("import", folder, *out, "--data", self.text), "--data"),
                                "no shape": (("import", folder / "model.safetensors", *out, "--data", self.text), "--config")})
        self.refuse_all(CHECKPOINT, {"an empty folder": (("import", self.folder, *out), "config.json")})

    def test_files_in_shards_are_read_like_one(self):
        folder = self.folder / "hf"
        shutil.copytree(self.home / "twin-hf", folder)
        sharded(folder)
        self.assertEqual(weights_of(self.imported(folder)), weights_of(self.home / "twin"))

    def test_keys_that_are_unknown_are_named(self):
        folder = self.folder / "hf"
        shutil.copytree(self.home / "twin-hf", folder)
        changed(new_key=1)(folder)
        self.assertIn("new_key", self.done("import", folder, "--out", self.folder / "run").err)


if __name__ == "__main__":
    main(at_least=110)
