"""Routing that one can see: `inspect` as JSON and as tables, and what training writes of it."""

import json
import shutil
import unicodedata
import unittest

from support import (CHECKPOINT, DATA, NUMERICS, STEPS, USAGE, RunCase, makemoe, read_safetensors, reseal, safetensors,
                     strict_json)

LAYERS, EXPERTS, TOP_K = 2, 8, 2
FIGURES = ("max_load", "max_vio", "load_entropy", "load_cv", "dead_experts", "router_entropy", "top1_gate", "balance_loss", "z_loss", "noise_std")
COLUMNS = 80


def width(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def shape(*keys):
    return tuple(part for key in keys for part in ("--set", f"model.{key}"))


class Inspect(RunCase):
    """Over one run of two layers of eight experts."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.wide = cls.home / "wide"
        result = cls.train_small(cls.wide, *shape(f"n_layer={LAYERS}", f"moe.num_experts={EXPERTS}"))
        if result.code != 0:
            raise AssertionError(result)

    def inspect(self, *arguments):
        return strict_json(self.done("inspect", *arguments, "--json").out)

    def check_layers(self, answer, layers, experts, top_k):
        """What must hold of any routing: each token chose top_k distinct experts."""
        tokens, symbols = answer["tokens"], answer["symbols"]
        self.assertEqual(len(answer["layers"]), layers)
        for layer in answer["layers"]:
            load, pairs, by_symbol = (layer[key] for key in ("load", "co_activation", "symbol_map"))
            self.assertEqual(sum(load), tokens * top_k)
            self.assertEqual([sum(row) for row in by_symbol], load)
            self.assertEqual({len(row) for row in by_symbol}, {len(symbols)})
            self.assertEqual(pairs, [list(column) for column in zip(*pairs)])
            self.assertEqual([pairs[e][e] for e in range(experts)], load)
            self.assertEqual([sum(row) for row in pairs], [top_k * count for count in load])
            self.assertEqual(layer["dead"], [e for e in range(experts) if load[e] < 0.01 * tokens * top_k / experts])
            self.assertEqual(layer["dead_experts"], len(layer["dead"]))
            self.assertAlmostEqual(layer["max_load"], max(load) * experts / sum(load))
            self.assertAlmostEqual(layer["max_vio"], layer["max_load"] - 1)
            self.assertAlmostEqual(sum(layer["gate_mass"]), 1)
            self.assertEqual([mass == 0 for mass in layer["gate_mass"]], [count == 0 for count in load])
            self.assertTrue(0 <= layer["load_entropy"] <= 1 + 1e-12)
            self.assertTrue(1 / top_k <= layer["top1_gate"] <= 1)

    def test_json_counts_every_token_of_the_split_in_every_layer(self):
        answer = self.inspect(self.wide)
        self.assertEqual(list(answer), ["checkpoint", "step", "split", "num_experts", "top_k", "tokens", "symbols", "layers",
                                        "prompt", "seconds"])
        self.assertEqual([answer[key] for key in ("step", "split", "num_experts", "top_k", "prompt")],
                         [STEPS, "val", EXPERTS, TOP_K, None])
        self.assertEqual(list(answer["layers"][0]), ["load", "gate_mass", *FIGURES, "dead", "co_activation", "symbol_map", "other_symbols"])
        self.check_layers(answer, LAYERS, EXPERTS, TOP_K)

    def test_the_load_is_what_eval_reports_of_the_same_split(self):
        for arguments in ((), ("--split", "train"), ("--data", self.text)):
            ours, theirs = self.inspect(self.wide, *arguments), strict_json(self.done("eval", self.wide, *arguments, "--json").out)
            self.assertEqual((ours["tokens"], ours["split"]), (theirs["tokens"], theirs["split"]))
            for key in ("max_vio", "gate_mass"):
                self.assertEqual([layer[key] for layer in ours["layers"]], theirs[key])
            for layer, fractions in zip(ours["layers"], theirs["expert_load"]):
                for count, fraction in zip(layer["load"], fractions):
                    self.assertAlmostEqual(count / ours["tokens"] / TOP_K, fraction, places=12)

    def test_gates_of_each_symbol_of_a_prompt_sum_to_one(self):
        text = "the  lantern"[:16]
        prompt = self.inspect(self.wide, "--prompt", text)["prompt"]
        self.assertEqual("".join(entry["symbol"] for entry in prompt), text)
        for entry in prompt:
            self.assertEqual(len(entry["layers"]), LAYERS)
            for route in entry["layers"]:
                self.assertEqual(len(set(route["experts"])), TOP_K)
                self.assertTrue(all(0 <= e < EXPERTS for e in route["experts"]))
                self.assertAlmostEqual(sum(route["gates"]), 1, places=5)
                self.assertEqual(route["gates"], sorted(route["gates"], reverse=True))

    def test_a_prompt_that_is_too_long_is_cut_with_a_notice(self):
        text = self.text.read_text()[:40].replace("\n", " ")
        result = self.done("inspect", self.wide, "--prompt", text, "--json")
        self.assertIn("the model sees the last 16", result.err)
        self.assertEqual("".join(entry["symbol"] for entry in strict_json(result.out)["prompt"]), text[-16:])

    def test_it_repeats_exactly_and_reference_kernels_agree(self):
        run = self.folder / "reference"
        shutil.copytree(self.wide, run)
        for config in run.rglob("config.json"):
            tree = json.loads(config.read_text())
            tree["model"]["kernels"] = "reference"
            config.write_text(json.dumps(tree))
        for checkpoint in (run / "checkpoints").glob("step-*"):
            reseal(checkpoint)
        fast, again, reference = (self.inspect(r, "--prompt", "the") for r in (self.wide, self.wide, run))
        self.assertEqual({**fast, "seconds": 0}, {**again, "seconds": 0})
        for a, b in zip(fast["layers"], reference["layers"]):
            self.assertEqual((a["load"], a["symbol_map"]), (b["load"], b["symbol_map"]))
            for name in FIGURES:
                self.assertAlmostEqual(a[name], b[name], places=4)
            for ours, theirs in zip(a["gate_mass"], b["gate_mass"]):
                self.assertAlmostEqual(ours, theirs, places=4)

    def test_tables_are_aligned_and_fit_a_terminal(self):
        result = self.done("inspect", self.wide, "--prompt", "the sea\n")
        self.assertEqual(result.err, "")
        lines = result.out.splitlines()
        self.assertLessEqual(max(map(width, lines[1:])), COLUMNS)  # the first names the checkpoint's folder
        blocks = [block.splitlines() for block in result.out.split("\n\n")]
        self.assertEqual(len(blocks), 5)
        for block in blocks[1:]:  # a title, heads, rows
            rows = block[2 if block[1].startswith("layer") else 1:]
            self.assertEqual(len({width(line) for line in rows}), 1, block)
        self.assertEqual(len(blocks[1]), 3 + EXPERTS + len(FIGURES))
        self.assertRegex(blocks[1][3], r"^expert 0( +\d+\.\d/\d+\.\d){2}$")
        self.assertEqual([line.split()[0] for line in blocks[4][2:]], list("the␣sea↵"))
        self.assertRegex(blocks[4][2], r"^t +\d:\d\.\d\d \d:\d\.\d\d +\d:\d\.\d\d \d:\d\.\d\d$")

    def test_many_experts_and_layers_fit_a_terminal_too(self):
        run = self.folder / "many"
        self.assertEqual(self.train_small(run, *shape("moe.num_experts=64", "n_layer=12")).code, 0)
        out = self.done("inspect", run, "--prompt", "the").out
        self.assertLessEqual(max(width(line) for line in out.splitlines()[1:]), COLUMNS)
        self.assertIn("\nexpert 63 ", out)
        self.assertIn("L11", out)
        self.check_layers(self.inspect(run), 12, 64, TOP_K)

    def test_one_expert_and_plain_routers_have_their_tables(self):
        for name, keys, top_k in (("dense", ("moe.num_experts=1", "moe.top_k=1"), 1), ("plain", ("moe.router=topk",), TOP_K)):
            run = self.folder / name
            self.assertEqual(self.train_small(run, *shape(*keys)).code, 0)
            answer = self.inspect(run, "--prompt", "t")
            self.check_layers(answer, 1, answer["num_experts"], top_k)
            self.assertEqual(answer["layers"][0]["noise_std"] is None, name == "plain")
            self.assertEqual(" pairs" in self.done("inspect", run).out.replace("\n", " "), top_k > 1)

    def test_bad_checkpoints_texts_and_prompts_are_refused(self):
        broken, alien = self.copy_of_checkpoint("broken"), self.folder / "alien"
        (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:-7])
        alien.write_text("snow ☃ man")
        short = self.folder / "short"
        short.write_text("t")
        run = self.wide
        self.refuse_all(CHECKPOINT, {"broken": (("inspect", broken), "model.safetensors"),
                                     "absent": (("inspect", self.folder / "absent"), "absent"),
                                     "no such step": (("inspect", f"{run}@77"), "77")})
        self.refuse_all(DATA, {"missing text": (("inspect", run, "--data", self.folder / "none"), "none"),
                               "symbols of the text": (("inspect", run, "--data", alien), "U+2603"),
                               "a text of one symbol": (("inspect", run, "--data", short), "short"),
                               "symbols of the prompt": (("inspect", run, "--prompt", "a☃"), ("--prompt", "U+2603")),
                               "no prompt": (("inspect", run, "--prompt", ""), ("--prompt", "at least one symbol")),
                               "no text": (("inspect", run, "--prompt", b"\xff"), "--prompt")})
        self.refuse_all(USAGE, {"no checkpoint": (("inspect",), "checkpoint is required"),
                                "an empty name": (("inspect", run, "--data", ""), "--data"),
                                "a split": (("inspect", run, "--split", "test"), "--split"),
                                "a typo": (("inspect", run, "--promt", "a"), "did you mean --prompt?")})

    def test_weights_that_are_not_finite_end_with_5_and_print_no_figures(self):
        checkpoint = self.copy_of_checkpoint("nan")
        path = checkpoint / "model.safetensors"
        header, data = read_safetensors(path.read_bytes())
        begin, end = header["token_embedding_table.weight"]["data_offsets"]
        path.write_bytes(safetensors(header, data[:begin] + b"\xff" * (end - begin) + data[end:]))
        reseal(checkpoint, self.without_tensor_sums)
        for more in ((), ("--prompt", "the"), ("--json",)):
            result = makemoe("inspect", checkpoint, "--data", self.text, "--allow-nonfinite", *more)
            self.assert_refused(result, NUMERICS, "earlier checkpoint")

    @staticmethod
    def without_tensor_sums(manifest):
        manifest["tensors"] = {}
        return manifest


class Training(RunCase):
    def evaluations(self, run):
        return [row for row in self.timeless_rows(run) if "val/loss" in row]

    def test_every_evaluation_tells_the_health_of_every_layer(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run, *shape(f"n_layer={LAYERS}")).code, 0)
        rows = self.evaluations(run)
        self.assertEqual(len(rows), STEPS + 1)
        for row in rows:
            for layer in range(LAYERS):
                for name in ("load", "gate_mass"):
                    self.assertAlmostEqual(sum(row[f"moe/layer{layer}/{name}"]), 1, places=12)
                for name in FIGURES:
                    self.assertIsInstance(row[f"moe/layer{layer}/{name}"], float)
            self.assertNotIn(f"moe/layer{LAYERS}/load", row)

    def test_the_last_row_and_routing_json_hold_what_inspect_finds(self):
        last, kept = self.evaluations(self.run_folder)[-1], strict_json((self.run_folder / "routing.json").read_text())
        found = strict_json(self.done("inspect", f"{self.run_folder}@last", "--json").out)
        self.assertEqual((last["step"], kept["step"]), (STEPS, STEPS))
        for key in ("tokens", "symbols", "layers"):
            self.assertEqual(kept[key], found[key])
        for layer, figures in enumerate(found["layers"]):
            for name in FIGURES:
                self.assertEqual(last[f"moe/layer{layer}/{name}"], figures[name])

    def test_how_often_the_routing_is_looked_at_changes_no_byte_of_the_weights(self):
        rare = self.folder / "rare"
        result = self.train_small(rare, "--set", f"train.eval_interval={STEPS}", "--set", "train.checkpoint_interval=1")
        self.assertEqual(result.code, 0, result)
        for step in range(1, STEPS + 1):
            for name in ("model.safetensors", "optimizer.safetensors"):
                ours, theirs = ((run / "checkpoints" / f"step-{step:08d}" / name) for run in (rare, self.run_folder))
                if ours.exists() and theirs.exists():  # old ones go
                    self.assertTrue(ours.read_bytes() == theirs.read_bytes(), (step, name))
        self.assertTrue((rare / "checkpoints" / self.last.name).is_dir())

    def test_a_capacity_tells_what_each_layer_dropped(self):
        run = self.folder / "run"
        self.assertEqual(self.train_small(run, *shape("moe.capacity_factor=0.5", f"n_layer={LAYERS}")).code, 0)
        for row in self.timeless_rows(run):
            if "train/step_loss" in row:
                of_layers = [row[f"moe/layer{layer}/dropped_fraction"] for layer in range(LAYERS)]
                self.assertAlmostEqual(sum(of_layers) / LAYERS, row["moe/dropped_fraction"], places=12)


if __name__ == "__main__":
    unittest.main()
