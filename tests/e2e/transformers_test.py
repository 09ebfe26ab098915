"""Folders of `export --format hf` in transformers, the last of version 4 and the newest: the numbers that makemoe has."""

import json
import os
import subprocess
import unittest

from support import SOURCE, TEXT, Case
from variants_test import VARIANTS
from venvs import main, python_beside_torch

ASK = SOURCE / "tests" / "e2e" / "ask_transformers.py"
VERSIONS = ("4.57.6", "5.24.0")

# Both sum floats in orders of their own: logits near 5 after a few layers, with seven digits.
LOGPROB_TOLERANCE = 3e-5

LONG = "MAKEMOE_SOAK" in os.environ
STEPS = 500 if LONG else 40
BLOCK = 256
PROMPT, NEW = "The lamp", 200 if LONG else 80  # within BLOCK

MODERN = ["model.norm=rms", "model.positions=rotary", "model.bias=false", "model.moe.activation=swiglu", "model.moe.router=topk",
          "model.moe.expert_width=48"]
SIGMOID = ["model.moe.gate=sigmoid", "model.moe.shared_experts=1", "model.moe.balance.kind=loss_free"]
QK = "model.qk_norm=head"
BPE = ["data.tokenizer=bpe", "data.vocab_size=320"]

TWINS = {
    "mixtral": ("MixtralForCausalLM", []),
    "mixtral, tied": ("MixtralForCausalLM", ["model.tied=true", "model.moe.router=noisy_topk"]),
    "mixtral, queries halved": ("MixtralForCausalLM", ["model.attention_scale=n_embed"]),
    "qwen3_moe": ("Qwen3MoeForCausalLM", [QK, "model.qk_gain=2"]),
    "qwen3_moe, tied, dense layers": ("Qwen3MoeForCausalLM", [QK, "model.tied=true", "model.moe.dense_layers=[0]",
                                                              "model.moe.dense_width=80"]),
    "qwen3_moe, softmax over all": ("Qwen3MoeForCausalLM", [QK, "model.moe.gate=softmax_topk", "model.attention_scale=n_embed"]),
    "granitemoe": ("GraniteMoeForCausalLM", ["model.attention_scale=n_embed", "model.n_head=2"]),
    "granitemoeshared": ("GraniteMoeSharedForCausalLM", ["model.moe.shared_experts=2", "model.tied=true"]),
    "qwen2_moe": ("Qwen2MoeForCausalLM", ["model.moe.shared_experts=2", "model.moe.shared_gate=true"]),
    "qwen2_moe, softmax over all": ("Qwen2MoeForCausalLM", ["model.moe.shared_experts=1", "model.moe.shared_gate=true",
                                                            "model.moe.gate=softmax_topk", "model.moe.dense_layers=[1]"]),
    "glm4_moe": ("Glm4MoeForCausalLM", [*SIGMOID, "model.moe.gate_scale=1.5"]),
    "dots1": ("Dots1ForCausalLM", [*SIGMOID, QK, "model.moe.dense_layers=[0]", "model.moe.gate_norm=false"]),
    "dots1, no bias of the choice": ("Dots1ForCausalLM", ["model.moe.gate=sigmoid", "model.moe.shared_experts=2", QK]),
    "llama": ("LlamaForCausalLM", ["model.moe.num_experts=0", "model.moe.shared_experts=2"]),
    "mixtral, subwords": ("MixtralForCausalLM", BPE),
    "qwen3_moe, subwords": ("Qwen3MoeForCausalLM", [QK, "model.tied=true", *BPE]),
    "qwen3": ("Qwen3ForCausalLM", ["model.moe.num_experts=0", "model.moe.shared_experts=1", QK, "model.tied=true"]),
}

CONFIG_TWINS = {"words": "Qwen3MoeForCausalLM"}
SAVED_AGAIN = ("qwen3_moe, tied, dense layers", "granitemoeshared", "dots1", "mixtral, subwords")  # by the short form

# What no twin has, beyond the variants of others' tests.
# Models of theirs, as their own config would make them but for sizes.
FOREIGN = {
    "mixtral": dict(model_type="mixtral", num_local_experts=4, intermediate_size=24, num_key_value_heads=4),
    "mixtral, tied, shared key heads": dict(model_type="mixtral", num_local_experts=4, intermediate_size=24, num_key_value_heads=2,
                                            tie_word_embeddings=True),
    "qwen3_moe, shared key heads": dict(model_type="qwen3_moe", num_experts=4, moe_intermediate_size=24, intermediate_size=40,
                                        num_key_value_heads=1, norm_topk_prob=True, mlp_only_layers=[1]),
    "qwen3_moe": dict(model_type="qwen3_moe", num_experts=4, moe_intermediate_size=24, num_key_value_heads=4),
}
SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, head_dim=8, num_experts_per_tok=2, rms_norm_eps=1e-6,
             max_position_embeddings=64, initializer_range=0.2)

OWN = {
    **VARIANTS,
    "every lambda": [*MODERN, "model.short_conv=3", "model.x0_shortcut=true", "model.value_residual=true", QK,
                     "model.ngram.orders=[2,3]", "model.ngram.min_count=2", "model.tied=true"],
    "every expert": ["model.moe.shared_experts=2", "model.moe.shared_gate=true", "model.moe.dense_layers=[1]",
                     "model.moe.hash_layers=[0]", "model.moe.activation=swiglu"],
    "sigmoid, alone": [*MODERN, "model.moe.gate=sigmoid", "model.moe.gate_norm=false", "model.moe.balance.kind=loss_free"],
    "subwords": [*BPE, "model.ngram.orders=[2]", "model.ngram.min_count=2"],
    "softmax and a bias": ["model.moe.balance.kind=loss_free", "model.moe.gate=softmax_topk"],
}


def settings(keys):
    return [word for key in keys for word in ("--set", key)]


class Asked(Case):
    """A process of each version answers the questions of a class."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cache = {**os.environ, "HF_HOME": str(cls.home / "hf"), "HF_HUB_OFFLINE": "1"}
        cls.programs = {version: subprocess.Popen([python_beside_torch(f"transformers=={version}"), ASK], env=cache, text=True,
                                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                        for version in VERSIONS}

    @classmethod
    def tearDownClass(cls):
        for program in cls.programs.values():
            program.communicate()
        super().tearDownClass()

    def ask(self, version, what, folder, **question):
        program = self.programs[version]
        print(json.dumps({"ask": what, "folder": str(folder), **question}), file=program.stdin, flush=True)
        answer = program.stdout.readline()
        if not answer:
            self.fail(f"transformers {version} on {what} of {folder}: {program.stderr.read()[-3000:]}")
        return json.loads(answer)

    def trained(self, name, keys, steps=6, config="tiny"):
        run = self.folder / name.replace(" ", "_")
        self.done("train", "--config", SOURCE / "configs" / f"{config}.json", "--data", TEXT, "--out", run,
                  *settings(["model.n_layer=2", "model.n_embed=32", "model.n_head=4", "model.block_size=64",
                             f"train.max_iters={steps}", "train.eval_interval=1000", "train.batch_size=4", "threads=1",
                             "eval.mode=random", "eval.eval_iters=1", *keys]))
        return run

    def exported(self, run, *arguments):
        folder = run.with_name(run.name + "-hf")
        self.done("export", run, "--format", "hf", "--out", folder, *arguments)
        return folder

    def own_logprobs(self, run, text):
        file = self.folder / "text"
        file.write_text(text)
        shown = self.done("eval", run, "--data", file, "--json", "--logprobs",
                          *settings(["eval.mode=full", "model.moe.noise_in_eval=false"]))
        return json.loads(shown.out)["logprobs"]

    def own_greedy(self, run, prompt, count):
        shown = self.done("generate", run, "--prompt", prompt, "--temperature", 0, "--max-new-tokens", count, "--json")
        return json.loads(shown.out)["samples"][0]["token_ids"]

    def assert_close(self, ours, theirs):
        worst = max(abs(a - b) for row, other in zip(ours, theirs, strict=True) for a, b in zip(row, other, strict=True))
        self.assertLess(worst, LOGPROB_TOLERANCE)

    def assert_same_model(self, run, folder, class_name):
        text = TEXT.read_text(encoding="utf-8")[1000:1060]
        ours = self.own_logprobs(run, text)
        for version in VERSIONS:
            self.assertEqual(self.ask(version, "loaded", folder), {"class": class_name, "problems": {}})
            ids = self.ask(version, "encode", folder, text=text)
            self.assertEqual(self.ask(version, "decode", folder, ids=ids), text)
            self.assert_close(ours, self.ask(version, "logprobs", folder, ids=ids))


class Twins(Asked):
    def test_each_has_the_probabilities_and_the_text_that_makemoe_has(self):
        for name, (class_name, keys) in TWINS.items():
            with self.subTest(name):
                run = self.trained(name, [*MODERN, *keys, f"model.block_size={BLOCK}"], STEPS)
                folder = self.exported(run)
                self.assert_same_model(run, folder, class_name)
                self.assertFalse((folder / "modeling_makemoe.py").exists())
                written = self.own_greedy(run, PROMPT, NEW)
                for version in VERSIONS:
                    ids = self.ask(version, "encode", folder, text=PROMPT)
                    self.assertEqual(self.ask(version, "greedy", folder, ids=ids, count=NEW), written)

    def test_fewer_bits_are_the_nearest_values_and_a_bias_of_the_choice_keeps_all(self):
        run = self.trained("bits", [*MODERN, *SIGMOID, QK])
        import safetensors.torch as st  # in the environment of the tests, or else the class is skipped
        import torch
        whole = st.load_file(self.exported(run) / "model.safetensors")
        for dtype, kind in (("bf16", torch.bfloat16), ("f16", torch.float16)):
            folder = self.exported(run, "--dtype", dtype, "--force")
            self.assertEqual(json.loads((folder / "config.json").read_text())["torch_dtype"], str(kind).removeprefix("torch."))
            for name, values in st.load_file(folder / "model.safetensors").items():
                wanted = whole[name] if name.endswith("bias") else whole[name].to(kind)
                self.assertTrue(torch.equal(values, wanted), name)

    def test_a_pipeline_writes_what_generate_writes(self):
        run = self.trained("pipeline", MODERN, STEPS)
        folder = self.exported(run)
        wanted = PROMPT + json.loads(self.done("generate", run, "--prompt", PROMPT, "--temperature", 0, "--max-new-tokens", 30,
                                               "--json").out)["samples"][0]["text"]
        for version in VERSIONS:
            self.assertEqual(self.ask(version, "write", folder, text=PROMPT, count=30), wanted)


class Back(Asked):
    """Folders that transformers wrote, as runs of makemoe."""

    def weights(self, run):
        return (run / "checkpoints" / "step-00000000" / "model.safetensors").read_bytes()

    def test_what_it_saves_again_in_shards_comes_back_bit_for_bit(self):
        twins = {name: [*MODERN, *keys] for name, (_, keys) in TWINS.items() if LONG or name in SAVED_AGAIN}
        for name, keys in {**twins, "own": ["model.ngram.orders=[2]", "model.ngram.min_count=2", "model.moe.hash_layers=[0]"]}.items():
            folder = self.exported(self.trained(name, keys))
            wanted = self.folder / f"{name}-wanted"
            self.done("import", folder, "--out", wanted)
            for version in VERSIONS:
                with self.subTest(name, version=version):
                    saved, run = (self.folder / f"{name}-{version}{end}" for end in ("", "-run"))
                    self.ask(version, "save", folder, to=str(saved), shard="20KB")
                    self.assertTrue((saved / "model.safetensors.index.json").exists())
                    self.assertNotIn("otherwise", self.done("import", saved, "--out", run).err)
                    self.assertEqual(self.weights(run), self.weights(wanted))
                    self.assertEqual((run / "tokenizer.json").read_bytes(), (wanted / "tokenizer.json").read_bytes())

    def test_models_of_theirs_have_the_same_probabilities_here(self):
        tokenizer = self.exported(self.trained("tokenizer", MODERN))
        vocab = json.loads((tokenizer / "config.json").read_text())["vocab_size"]
        text = TEXT.read_text(encoding="utf-8")[2000:2050]
        for name, config in FOREIGN.items():
            for version in VERSIONS:
                with self.subTest(name, version=version):
                    folder = self.folder / f"{name}-{version}".replace(" ", "_")
                    folder.mkdir()
                    for file in ("tokenizer.json", "tokenizer_config.json"):
                        (folder / file).write_bytes((tokenizer / file).read_bytes())
                    self.ask(version, "make", folder, shard="30KB", vocab_size=vocab, **SIZES, **config)
                    run = folder.with_name(folder.name + "-run")
                    self.done("import", folder, "--out", run)
                    ids = self.ask(version, "encode", folder, text=text)
                    self.assert_close(self.own_logprobs(run, text), self.ask(version, "logprobs", folder, ids=ids))


class OwnModels(Asked):
    def test_each_variant_has_the_probabilities_that_makemoe_has(self):
        for name, keys in OWN.items():
            with self.subTest(name):
                run = self.trained(name, keys)
                self.assert_same_model(run, self.exported(run), "MakemoeForCausalLM")

    def test_each_config_that_comes_along_does_when_it_is_shrunken(self):
        for path in sorted((SOURCE / "configs").glob("*.json")):
            with self.subTest(path.name):
                run = self.trained(path.stem, ["model.moe.num_experts=4", "model.moe.noise_in_eval=false",
                                               "optim.schedule.warmup_iters=0"], config=path.stem)
                self.assert_same_model(run, self.exported(run), CONFIG_TWINS.get(path.stem, "MakemoeForCausalLM"))

    def test_one_writes_what_generate_writes_and_a_pipeline_does(self):
        run = self.trained("pipeline", ["model.short_conv=2", "model.norm=rms"], STEPS)
        folder = self.exported(run)
        written = self.own_greedy(run, PROMPT, 50)
        for version in VERSIONS:
            ids = self.ask(version, "encode", folder, text=PROMPT)
            self.assertEqual(self.ask(version, "greedy", folder, ids=ids, count=50), written)
            self.assertEqual(len(self.ask(version, "write", folder, text=PROMPT, count=20)), len(PROMPT) + 20)

    def test_its_loss_is_that_of_eval(self):
        run = self.trained("loss", [])
        text = TEXT.read_text(encoding="utf-8")[:50]
        (self.folder / "text").write_text(text)
        ours = json.loads(self.done("eval", run, "--data", self.folder / "text", "--json", "--set", "eval.mode=full").out)["loss"]
        folder = self.exported(run)
        for version in VERSIONS:
            theirs = self.ask(version, "loss", folder, ids=self.ask(version, "encode", folder, text=text))
            self.assertAlmostEqual(ours, theirs, delta=LOGPROB_TOLERANCE)

    def test_noise_in_evaluation_is_drawn_there_too(self):
        run = self.trained("noisy", ["model.moe.noise_in_eval=true"])
        folder = self.exported(run)
        for version in VERSIONS:
            ids = list(range(10))
            self.assertNotEqual(self.ask(version, "logprobs", folder, ids=ids), self.ask(version, "logprobs", folder, ids=ids))


if __name__ == "__main__":
    main()
