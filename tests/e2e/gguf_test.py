"""GGUF files of `export --format gguf` in llama.cpp: makemoe's numbers, ids and texts; and what `import` makes of such files."""

import json
import os
import random
import subprocess
import unittest

from support import RESOURCES, SOURCE, TEXT, USAGE, Case, makemoe, read_safetensors
from venvs import main, python_with

HERE = SOURCE / "tests" / "e2e"

# What the issue allows: with caches of float32 only sums differ in their order; llama.cpp's defaults keep keys and values in
# float16, with ten bits behind the point.
EXACT_TOLERANCE, DEFAULT_TOLERANCE = 1e-4, 0.03

# With weights of fewer bits, llama.cpp rounds what they are multiplied by to as many.
ROUNDED_TOLERANCE = {"f16": 0.03, "bf16": 0.1, "q8_0": 0.3}

LONG = "MAKEMOE_SOAK" in os.environ
TRAINED = 500 if LONG else 40
BLOCK = 256
PROMPT, NEW = "The lamp", 200  # within BLOCK
PLACES = (1, 2, 17, 60, 119)  # of the last symbol that is read before the next one's probability is asked for
WINDOW = 120

MODERN = ["model.norm=rms", "model.positions=rotary", "model.bias=false", "model.moe.activation=swiglu", "model.moe.router=topk",
          "model.moe.expert_width=64"]
SIGMOID = ["model.moe.gate=sigmoid", "model.moe.shared_experts=1", "model.moe.balance.kind=loss_free"]
QK = "model.qk_norm=head"
BPE = ["data.tokenizer=bpe", "data.vocab_size=400"]

TWINS = {
    "mixtral": ("llama", ["model.moe.router=noisy_topk"]),
    "mixtral, tied, queries halved": ("llama", ["model.tied=true", "model.attention_scale=n_embed"]),
    "mixtral of subwords": ("llama", BPE),
    "qwen3moe": ("qwen3moe", [QK, "model.qk_gain=2", "model.attention_scale=n_embed"]),
    "qwen3moe of subwords, tied": ("qwen3moe", [QK, "model.tied=true", *BPE]),
    "granitemoe": ("granitemoe", ["model.attention_scale=n_embed", "model.n_head=2"]),
    "granitemoe, shared experts": ("granitemoe", ["model.moe.shared_experts=2", "model.tied=true"]),
    "qwen2moe": ("qwen2moe", ["model.moe.shared_experts=2", "model.moe.shared_gate=true", "model.moe.gate=softmax_topk"]),
    "glm4moe": ("glm4moe", [*SIGMOID, "model.moe.gate_scale=1.5", "model.moe.dense_layers=[0]"]),
    "glm4moe, no bias of the choice": ("glm4moe", ["model.moe.gate=sigmoid", "model.moe.shared_experts=2", "model.tied=true"]),
    "dots1": ("dots1", [*SIGMOID, QK, "model.moe.dense_layers=[0]", "model.moe.gate_norm=false"]),
    "llama": ("llama", ["model.moe.num_experts=0", "model.moe.shared_experts=2"]),
    "qwen3": ("qwen3", ["model.moe.num_experts=0", "model.moe.shared_experts=1", QK, "model.tied=true"]),
}

END = "<|endoftext|>"
HOSTILE = [*" '  \n\tstrevmldx", "a", "Z", "é", "ß", "я", "1", "٣", "½", ".", "-", "<", "|", "\u00a0", "\u3000", "\u0301", "漢", "字",
           "🌊", "\u200d", "\u2028", "\x01", "\x7f", "'s", "'ll", "re", END, "the ", "the ", " and"]


def settings(keys):
    return [word for key in keys for word in ("--set", key)]


class Program:
    """A process that answers one JSON object a line."""

    def __init__(self, package, script):
        self.process = subprocess.Popen([python_with(package), HERE / script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def ask(self, **question):
        print(json.dumps(question, default=str), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, self.process.communicate()[1][-3000:]
        return json.loads(answer)


class Llama:
    """Answers each question in a process of its own: on a busy machine a server of the wheel sometimes never answers."""

    ATTEMPTS, WITHIN = 4, 60  # [s]

    def __init__(self):
        self.python = python_with("xllamacpp")

    def ask(self, **question):
        for _ in range(self.ATTEMPTS):
            try:
                done = subprocess.run([self.python, HERE / "ask_llama.py"], input=json.dumps(question, default=str), text=True,
                                      capture_output=True, timeout=self.WITHIN, check=False)
            except subprocess.TimeoutExpired:
                continue
            assert done.returncode == 0, done.stderr[-3000:]
            return json.loads(done.stdout)
        raise AssertionError(f"no answer of llama.cpp in {self.ATTEMPTS} times {self.WITHIN} s")


class GgufCase(Case):
    def trained(self, name, keys, steps=6):
        run = self.folder / name.replace(" ", "_")
        self.done("train", "--config", SOURCE / "configs" / "tiny.json", "--data", TEXT, "--out", run,
                  *settings(["model.n_layer=2", "model.n_embed=32", "model.n_head=4", f"model.block_size={BLOCK}",
                             f"train.max_iters={steps}", "train.eval_interval=1000", "train.batch_size=4", "threads=1",
                             "eval.mode=random", "eval.eval_iters=1", *MODERN, *keys]))
        return run

    def exported(self, run, dtype="f32"):
        file = run.with_name(f"{run.name}-{dtype}.gguf")
        self.done("export", run, "--format", "gguf", "--dtype", dtype, "--out", file)
        return file

    def imported(self, file):
        run = file.with_name(f"{file.name}-run")
        self.done("import", file, "--out", run)
        return run

    def own_logprobs(self, run, text):
        file = self.folder / "text"
        file.write_text(text, encoding="utf-8")
        shown = self.done("eval", run, "--data", file, "--json", "--logprobs", *settings(["eval.mode=full"]))
        return json.loads(shown.out)["logprobs"]

    def own_greedy(self, run):
        shown = self.done("generate", run, "--prompt", PROMPT, "--temperature", 0, "--max-new-tokens", NEW, "--json")
        return json.loads(shown.out)["samples"][0]["token_ids"]

    def own_ids(self, run, text, *more):
        file = self.folder / "text"
        file.write_bytes(text.encode())
        shown = self.done("tokenizer", "encode", file, "--tokenizer", run / "tokenizer.json", *more)
        return [int(number) for number in shown.out.split()]


def weights_of(run):
    header, data = read_safetensors((run / "checkpoints" / max(os.listdir(run / "checkpoints"), key=step_of) / "model.safetensors").read_bytes())
    return {name: data[slice(*info["data_offsets"])] for name, info in header.items() if name != "__metadata__"}


def step_of(name):
    return int(name.removeprefix("step-")) if name.startswith("step-") else -1


class InLlama(GgufCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.llama = Llama()

    def worst(self, ours, ids, file, exact, **more):
        """The largest difference of logarithms of probabilities, of all tokens after each of the places; and the answer."""
        asked = [{"prompt": ids[:place], "steps": 1, "symbols": len(ours[0])} for place in PLACES]
        answer = self.llama.ask(file=file, exact=exact, context=BLOCK, completions=[*asked, {"prompt": PROMPT, "steps": NEW}], **more)
        pairs = [(ours[place - 1], one["logprobs"][0]) for place, one in zip(PLACES, answer["completions"])]
        return max(abs(a - b) for row, other in pairs for a, b in zip(row, other, strict=True)), answer

    def window(self, run):
        """A text, and the first ids of it."""
        text = TEXT.read_text(encoding="utf-8")[1000:1000 + 4 * WINDOW]
        return text, self.own_ids(run, text)[:WINDOW]

    def assert_same_model(self, run, file):
        text, ids = self.window(run)
        ours = self.own_logprobs(run, text)
        worst, answer = self.worst(ours, ids, file, True, texts=[text])
        self.assertLess(worst, EXACT_TOLERANCE)
        self.assertEqual(answer["ids"][0][:WINDOW], ids)
        self.assertEqual(answer["completions"][-1]["tokens"], self.own_greedy(run))
        self.assertLess(self.worst(ours, ids, file, False)[0], DEFAULT_TOLERANCE)

    def test_each_twin_has_the_probabilities_and_the_text_that_makemoe_has(self):
        for name, (architecture, keys) in TWINS.items():
            with self.subTest(name):
                run = self.trained(name, keys, TRAINED)
                file = self.exported(run)
                self.assertIn(b"general.architecture\x08\x00\x00\x00" + len(architecture).to_bytes(8, "little") + architecture.encode(),
                              file.read_bytes())
                self.assert_same_model(run, file)

    def test_files_of_fewer_bits_have_nearly_the_probabilities_of_what_makemoe_reads_from_them(self):
        run = self.trained("bits", [QK], TRAINED)
        for dtype, tolerance in ROUNDED_TOLERANCE.items():
            file = self.exported(run, dtype)
            text, ids = self.window(run)
            self.assertLess(self.worst(self.own_logprobs(self.imported(file), text), ids, file, True)[0], tolerance, dtype)

    def test_hostile_prompts_of_characters_become_our_ids_and_texts_again(self):
        symbols = "\x01\t\n \"'\\x0a1é漢🌊<|>\x7fn"
        text = self.folder / "symbols"
        text.write_bytes((symbols * 40).encode())
        run = self.folder / "run"
        self.done("train", *self.small, "--data", text, "--out", run, *settings([*MODERN, f"model.block_size={16}"]))
        file = self.exported(run)
        draws = random.Random(17)
        texts = ["".join(draws.choices(symbols, k=draws.randrange(1, 60))) for _ in range(100)]
        answer = self.llama.ask(file=file, exact=True, context=BLOCK, texts=texts)
        ids = [self.own_ids(run, one) for one in texts]
        self.assertEqual(answer["ids"], ids)
        self.assertEqual(self.llama.ask(file=file, exact=True, context=BLOCK, ids=ids)["texts"], texts)

    def test_hostile_prompts_of_subwords_become_our_ids(self):
        run = self.trained("words", BPE)
        file = self.exported(run)
        draws = random.Random(17)
        texts = ["".join(draws.choices(HOSTILE, k=draws.randrange(1, 80))) for _ in range(100)]
        for special, more in ((False, ()), (True, ("--special",))):
            answer = self.llama.ask(file=file, exact=True, context=BLOCK, texts=texts, special=special)
            for text, ids in zip(texts, answer["ids"], strict=True):
                self.assertEqual(ids, self.own_ids(run, text, *more), repr(text))


class Package(GgufCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.package = Program("gguf", "ask_gguf.py")

    @classmethod
    def tearDownClass(cls):
        cls.package.process.communicate()
        super().tearDownClass()

    def test_the_package_reads_the_keys_and_the_tensors(self):
        run = self.trained("keys", [QK])
        told = self.package.ask(ask="keys", file=self.exported(run))
        self.assertEqual(told["keys"]["qwen3moe.block_count"], 2)
        self.assertEqual(told["keys"]["qwen3moe.expert_feed_forward_length"], 64)
        self.assertEqual(told["keys"]["tokenizer.ggml.model"], "rwkv")
        symbols = json.loads((run / "tokenizer.json").read_text())["model"]["vocab"]
        self.assertEqual([token.replace("\\n", "\n") for token in told["keys"]["tokenizer.ggml.tokens"]], list(symbols))
        self.assertEqual(told["tensors"]["blk.1.ffn_down_exps.weight"], ["F32", [4, 32, 64]])
        self.assertEqual(told["tensors"]["output_norm.weight"], ["F32", [32]])

    def test_fewer_bits_are_those_that_the_package_makes_and_are_read_as_it_reads_them(self):
        run = self.trained("bits", ["model.moe.expert_width=40"])
        whole = self.exported(run)
        for dtype in ("f16", "bf16", "q8_0"):
            file = self.exported(run, dtype)
            self.assertEqual(self.package.ask(ask="unlike", whole=whole, file=file), [])
            again = self.exported(self.imported(file))
            self.assertEqual(self.package.ask(ask="unread", file=file, whole=again), [])

    def test_rows_that_q8_0_cannot_hold_stay_f16_and_that_is_said(self):
        run = self.trained("odd", ["model.moe.expert_width=40"])
        said = self.done("export", run, "--format", "gguf", "--dtype", "q8_0", "--out", self.folder / "odd.gguf").err
        self.assertIn("blk.0.ffn_down_exps.weight and 1 more: F16", said)
        kinds = {name: kind for name, (kind, _) in self.package.ask(ask="keys", file=self.folder / "odd.gguf")["tensors"].items()}
        self.assertEqual(kinds["blk.1.ffn_down_exps.weight"], "F16")
        self.assertEqual(kinds["blk.1.ffn_up_exps.weight"], "Q8_0")
        self.assertEqual(kinds["blk.1.ffn_gate_inp.weight"], "F32")

    def test_files_of_others_are_computed_as_llama_computes_them(self):
        symbols = "\n \\" + "abcdefghijklmnopqrstuvwxyz"
        llama = Llama()
        for architecture, heads in (("llama", 4), ("llama", 2), ("qwen3moe", 1)):
            with self.subTest(architecture, heads=heads):
                file = self.folder / f"{architecture}-{heads}.gguf"
                self.package.ask(ask="write", file=file, architecture=architecture, seed=heads, symbols=symbols, width=32, heads=4,
                                 key_value_heads=heads, layers=2, experts=4, chosen=2, hidden=48, context=64)
                run = self.imported(file)
                text = "the quick brown fox\njumps\\over"
                ours, ids = self.own_logprobs(run, text), [symbols.index(one) for one in text]
                asked = [{"prompt": ids[:place], "steps": 1, "symbols": len(symbols)} for place in (1, 5, 20)]
                answer = llama.ask(file=file, exact=True, context=64, completions=asked)["completions"]
                for place, one in zip((1, 5, 20), answer, strict=True):
                    worst = max(abs(a - b) for a, b in zip(ours[place - 1], one["logprobs"][0], strict=True))
                    self.assertLess(worst, EXACT_TOLERANCE)
                self.done("train", "--init-from", run, "--config", run / "config.json", "--data", self.letters(symbols), "--out",
                          self.folder / f"on-{heads}", *settings(["train.max_iters=2", "train.eval_interval=2", "threads=1"]))

    def letters(self, symbols):
        file = self.folder / "letters"
        file.write_text(symbols * 60)
        return file


class Files(GgufCase):
    def test_import_reads_each_export_back_bit_for_bit(self):
        for name, (_, keys) in TWINS.items():
            with self.subTest(name):
                run = self.trained(name, [*keys, "model.block_size=16"], steps=1)
                again = self.imported(self.exported(run))
                # A router with noise has two Linears, of which one is left out, and the other has another name.
                ours = {name.replace("topkroute_linear", "linear"): values for name, values in weights_of(run).items()
                        if "noise_linear" not in name}
                self.assertEqual(ours, weights_of(again))
                self.assertEqual((run / "tokenizer.json").read_bytes(), (again / "tokenizer.json").read_bytes())
                self.assertEqual(self.exported(again).read_bytes(), self.exported(run).read_bytes())

    def test_a_file_is_replaced_whole_or_not_at_all(self):
        run = self.trained("whole", [])
        out = self.folder / "out.gguf"
        out.write_text("old")
        for plan in ("short@1", "ENOSPC@1", "EIO@2", "EIO@3"):
            result = makemoe("export", run, "--format", "gguf", "--out", out, env={"MAKEMOE_TEST_FAULT": plan})
            self.assertEqual(result.code, RESOURCES)
            self.assertEqual(out.read_text(), "old")
        self.done("export", run, "--format", "gguf", "--out", out)
        self.assertEqual(out.read_bytes(), self.exported(run).read_bytes())
        self.assertEqual([path for path in self.folder.iterdir() if path.name.startswith(".tmp")], [])

    def test_it_can_be_sent_to_standard_output(self):
        run = self.trained("sent", [])
        done = subprocess.run([os.environ["MAKEMOE_BIN"], "export", run, "--format", "gguf", "--out", "-"], capture_output=True, check=True)
        self.assertEqual(done.stdout, self.exported(run).read_bytes())

    def test_a_model_that_llama_lacks_is_refused_by_its_keys(self):
        run = self.folder / "published"
        self.done("train", *self.small, "--out", run)
        out = self.folder / "out.gguf"
        self.refuse_all(USAGE, {"published": (("export", run, "--format", "gguf", "--out", out),
                                              ("model.norm", "model.positions", "model.bias", "model.moe.activation"))})
        self.assertFalse(out.exists())


if __name__ == "__main__":
    main()
