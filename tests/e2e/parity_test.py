"""Weights pass to the Python original, and both compute the same loss."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

BINARY = os.environ["MAKEMOE_BIN"]
SOURCE = pathlib.Path(os.environ["MAKEMOE_SOURCE_DIR"])
TEXT = SOURCE / "data" / "the-lantern-keepers.txt"
sys.path.insert(0, str(SOURCE / "tests" / "golden"))

try:
    import reference_model as oracle
    import torch
    from safetensors.torch import load_file
except ImportError as missing:
    raise unittest.SkipTest(f"the oracle needs torch and safetensors in Python: {missing}")

# Ours sums in float, the oracle in double: float keeps seven digits, thousands of targets average out.
LOSS_TOLERANCE = 1e-6

SHAPES = {
    "noisy_topk": dict(n_embed=32, n_head=4, n_layer=2, block_size=16, num_experts=4, top_k=2, router="noisy_topk"),
    "topk": dict(n_embed=24, n_head=3, n_layer=1, block_size=9, num_experts=5, top_k=3, router="topk"),
    "all_experts": dict(n_embed=16, n_head=2, n_layer=2, block_size=7, num_experts=3, top_k=3, router="noisy_topk"),
    "one_expert": dict(n_embed=12, n_head=4, n_layer=3, block_size=13, num_experts=1, top_k=1, router="topk"),
}


def run(*arguments):
    return subprocess.run([BINARY, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def settings(shape):
    keys = {f"model.{k}": v for k, v in shape.items() if k not in ("num_experts", "top_k", "router")}
    keys |= {f"model.moe.{k}": shape[k] for k in ("num_experts", "top_k", "router")}
    keys |= {"model.attention_scale": "n_embed", "train.max_iters": 20, "train.eval_interval": 20, "train.batch_size": 8,
             "threads": 1}  # tiny shapes: a second thread costs more than it gives
    return [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]


def oracle_init(shape, vocab_size, kind, seed):
    """What PyTorch draws: the constructors, and then, but for "default", the Linear weights again."""
    torch.manual_seed(seed)
    model = oracle.SparseMoELanguageModel(oracle.Shape(vocab_size=vocab_size, **shape))
    if kind != "default":
        oracle.init_weights(model, kind.removesuffix("_normal"))
    return model.state_dict()


def oracle_loss(model, tokens, block):
    total = 0.0
    with torch.no_grad():
        for at in range(0, len(tokens) - 1, block):
            targets = tokens[at + 1 : at + block + 1]
            inputs = tokens[at : at + len(targets)]
            total += model(inputs[None], targets[None])[1].item() * len(targets)
    return total / (len(tokens) - 1)


class Parity(unittest.TestCase):
    def test_exported_weights_give_the_oracle_the_same_names_and_the_same_loss(self):
        text = TEXT.read_text()
        symbols = sorted(set(text))
        tokens = torch.tensor([symbols.index(c) for c in text])
        val = tokens[int(0.9 * len(tokens)) :]
        for name, shape in SHAPES.items():
            for kernels in ("fast", "reference"):
                with self.subTest(name, kernels=kernels), tempfile.TemporaryDirectory() as folder:
                    folder = pathlib.Path(folder)
                    run("train", "--data", TEXT, "--out", folder / "run", *settings(shape),
                        "--set", f"model.kernels={kernels}")
                    run("export", folder / "run", "--format", "makemoe", "--out", folder / "w.safetensors")
                    ours = json.loads(run("eval", folder / "run", "--json"))["loss"]
                    model = oracle.SparseMoELanguageModel(oracle.Shape(vocab_size=len(symbols), **shape)).double()
                    state = load_file(folder / "w.safetensors")
                    weights = {k: v for k, v in state.items() if not k.endswith(".tril")}
                    model.load_state_dict(weights)  # strict: names and shapes are the published ones
                    self.assertEqual(len(state) - len(weights), shape["n_layer"] * shape["n_head"])
                    self.assertAlmostEqual(ours, oracle_loss(model, val, shape["block_size"]), delta=LOSS_TOLERANCE)

    def test_a_seed_begins_with_the_weights_that_it_gives_in_pytorch_bit_for_bit(self):
        vocab_size = len(set(TEXT.read_text()))
        for name, shape in SHAPES.items():
            for kind in ("kaiming_normal", "xavier_normal", "default"):
                with self.subTest(name, init=kind), tempfile.TemporaryDirectory() as folder:
                    folder = pathlib.Path(folder)
                    run("train", "--data", TEXT, "--out", folder / "run", *settings(shape), "--set", "seed=7",
                        "--set", f"model.init={kind}", "--stop-after", 0)
                    run("export", folder / "run", "--format", "makemoe", "--out", folder / "w.safetensors")
                    ours = load_file(folder / "w.safetensors")
                    for key, wanted in oracle_init(shape, vocab_size, kind, 7).items():
                        self.assertTrue(torch.equal(ours[key], wanted), key)

    def test_the_published_shape_has_the_published_number_of_parameters(self):
        with tempfile.TemporaryDirectory() as folder:
            text = pathlib.Path(folder) / "text"
            text.write_text("".join(chr(ord("0") + i) for i in range(65)) * 20)
            shown = json.loads(run("train", "--config", SOURCE / "configs" / "makemoe.json", "--data", text,
                                   "--dry-run", "--json"))
        self.assertEqual(shown["parameters"], 8_996_545)


if __name__ == "__main__":
    unittest.main()
