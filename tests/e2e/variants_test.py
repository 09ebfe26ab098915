"""Models that differ from the published one: through training, resuming, files and the Python original's names."""

import array
import collections
import json

from support import CHECKPOINT, USAGE, Case, main, read_safetensors, safetensors

VARIANTS = {"rms": ["model.norm=rms"], "gelu": ["model.moe.activation=gelu"], "silu": ["model.moe.activation=silu"],
            "relu2": ["model.moe.activation=relu2"],
            "swiglu": ["model.moe.activation=swiglu", "model.moe.expert_width=24"],
            "dropouts": ["model.dropouts.embedding=0.2", "model.dropouts.attention=0", "model.dropouts.expert=0.1"],
            "inits": ["model.init_embedding_std=0.1", "model.init_zero_outputs=true"],
            "rotary": ["model.positions=rotary"], "no positions": ["model.positions=none"],
            "qk norm": ["model.qk_norm=head", "model.qk_gain=2"],
            "short convolution": ["model.short_conv=3", "model.positions=rotary"],
            "x0 shortcut": ["model.x0_shortcut=true"],
            "n-grams": ["model.ngram.orders=[2,3]", "model.ngram.min_count=2", "model.ngram.dropout=0.1"],
            "value residual": ["model.n_layer=2", "model.value_residual=true"],
            "no bias": ["model.bias=false"], "tied": ["model.tied=true"],
            "balanced": ['model.moe.balance=[{"kind": "switch"}, {"kind": "loss_free"}]', "model.moe.z_loss=0.001",
                         "train.grad_accumulation=2"],
            "importance": ["model.moe.balance.kind=importance_load", "model.moe.jitter=0.1"],
            "hash": ["model.moe.hash_layers=[0]", "model.moe.gate=sigmoid", "model.moe.gate_scale=2"],
            "shared": ["model.moe.shared_experts=2", "model.moe.expert_width=24"],
            "shared gate": ["model.moe.shared_experts=1", "model.moe.shared_gate=true", "optim.kind=muon",
                            "model.moe.capacity_factor=1"],
            "dense model": ["model.moe.num_experts=0", "model.moe.shared_experts=1"],
            "dense layer": ["model.n_layer=2", "model.moe.dense_layers=[0]", "model.moe.balance.kind=loss_free",
                            "model.moe.capacity_factor=1"],
            "all": ["model.norm=rms", "model.moe.activation=gelu", "model.bias=false", "model.tied=true",
                    "model.short_conv=2"]}
TABLE, HEAD = "token_embedding_table.weight", "lm_head.weight"


def settings(variant):
    return [word for key in VARIANTS[variant] for word in ("--set", key)]


class Trains(Case):
    def trained(self, name, *arguments):
        run = self.folder / name
        result = self.train_small(run, *arguments)
        self.assertEqual(result.code, 0, result)
        return run

    def weights(self, run):
        return (run / "checkpoints" / (run / "checkpoints" / "last").read_text().strip() / "model.safetensors").read_bytes()

    def loss(self, run):
        return json.loads(self.done("eval", run, "--data", self.text, "--json").out)["loss"]


class Variants(Trains):
    def test_each_trains_resumes_bit_for_bit_and_writes_text(self):
        for name in VARIANTS:
            with self.subTest(name):
                whole = self.trained(f"{name}-whole", *settings(name))
                stopped = self.trained(f"{name}-stopped", *settings(name), "--stop-after", 1)
                self.done("train", "--resume", "--out", stopped)
                self.assertEqual(self.weights(stopped), self.weights(whole))
                self.assertNotEqual(self.weights(whole), self.weights(self.trained(f"{name}-published")))
                self.assertTrue(self.done("generate", whole, "--max-new-tokens", 5).out)

    def test_both_kinds_of_kernels_train_the_same_model(self):
        fast = self.trained("fast", *settings("all"))
        plain = self.trained("plain", *settings("all"), "--set", "model.kernels=reference")
        self.assertAlmostEqual(self.loss(fast), self.loss(plain), delta=1e-5)

    def test_absent_tensors_are_not_in_files(self):
        names = set(read_safetensors(self.weights(self.trained("run", *settings("all"))))[0])
        self.assertIn(TABLE, names)
        self.assertNotIn(HEAD, names)
        self.assertFalse([name for name in names if name.endswith(".bias")])

    def test_export_says_what_the_original_lacks(self):
        said = self.done("export", self.trained("run", *settings("all")), "--out", self.folder / "w.safetensors").err
        for says in ('model.norm is "rms" (it has "layer" alone)', 'model.moe.activation is "gelu" (it has "relu" alone)',
                     "model.bias is false (it has true alone)", "model.short_conv is 2 (it has 0 alone)"):
            self.assertIn(says, said)
        self.assertNotIn("model.tied", said)  # it is exported under both names


class Balance(Trains):
    BIAS = "blocks.0.smoe.router.balance_bias"

    def rows(self, run):
        return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    def test_training_rows_hold_the_side_losses_that_there_are(self):
        run = self.trained("run", *settings("balanced"))
        training = [row for row in self.rows(run) if "train/step_loss" in row]
        self.assertTrue(training)
        for row in training:
            self.assertGreater(row["train/balance_loss"], 0)
            self.assertGreater(row["train/z_loss"], 0)
            self.assertNotIn("train/importance_loss", row)

    def test_the_bias_is_saved_exported_and_imported_and_is_no_parameter(self):
        run = self.trained("run", *settings("balanced"))
        header, data = read_safetensors(self.weights(run))
        begin, end = header[self.BIAS]["data_offsets"]
        self.assertNotEqual(data[begin:end], bytes(end - begin))
        out = self.folder / "w.safetensors"
        said = self.done("export", run, "--out", out).err
        self.assertIn("model.moe.balance has a bias", said)
        self.assertNotIn("z_loss", said)
        self.done("import", out, "--config", run / "config.json", "--data", self.text, "--out", self.folder / "again")
        self.assertEqual(self.weights(self.folder / "again"), self.weights(run))
        count = lambda run: json.loads(self.done("info", run, "--json").out)["parameters"]
        self.assertEqual(count(run), count(self.trained("published")))

    def test_weights_without_a_bias_are_no_beginning_for_a_model_with_one(self):
        plain = self.trained("plain")
        result = self.run_train_from(plain, *settings("balanced"))
        self.assertEqual(result.code, CHECKPOINT, result)
        self.assertIn("model.moe.balance", result.err)
        self.assertEqual(self.run_train_from(plain, "--set", "model.moe.balance.kind=switch").code, 0)

    def run_train_from(self, other, *arguments):
        return self.train_small(self.folder / "from", *arguments, "--init-from", other)

    def test_routers_that_look_ahead_are_refused_with_the_reason(self):
        for name in ("expert_choice", "soft", "sinkhorn", "mixture_of_depths"):
            result = self.train_small(self.folder / name, "--set", f"model.moe.router={name}")
            self.assertEqual(result.code, 2, result)
            self.assertIn("is not offered: ", result.err)


class SharedExperts(Trains):
    GATE = "blocks.0.smoe.shared_gate.weight"

    def test_they_are_saved_exported_and_imported_by_their_names(self):
        run = self.trained("run", *settings("shared gate"))
        header = read_safetensors(self.weights(run))[0]
        shape = header["blocks.0.smoe.experts.0.net.0.weight"]["shape"]
        self.assertEqual(header["blocks.0.smoe.shared.0.net.0.weight"]["shape"], shape)
        self.assertEqual(header[self.GATE]["shape"], [1, shape[1]])
        self.assertNotIn("blocks.0.smoe.shared.1.net.0.weight", header)
        out = self.folder / "w.safetensors"
        said = self.done("export", run, "--out", out).err
        self.assertIn("model.moe.shared_experts is 1 (it has 0 alone)", said)
        self.done("import", out, "--config", run / "config.json", "--data", self.text, "--out", self.folder / "again")
        self.assertEqual(self.weights(self.folder / "again"), self.weights(run))
        self.assertEqual(self.loss(self.folder / "again"), self.loss(run))

    def test_both_kinds_of_kernels_train_the_same_model(self):
        plain = self.trained("plain", *settings("shared gate"), "--set", "model.kernels=reference")
        self.assertAlmostEqual(self.loss(self.trained("fast", *settings("shared gate"))), self.loss(plain), delta=1e-5)

    def test_every_token_reads_them(self):
        info = lambda run: json.loads(self.done("info", run, "--json").out)
        plain, shared = info(self.trained("plain", "--set", "model.moe.expert_width=24")), info(self.trained("run", *settings("shared")))
        more = shared["parameters"] - plain["parameters"]
        self.assertGreater(more, 0)
        self.assertEqual(shared["active_parameters"] - plain["active_parameters"], more)

    def test_other_shared_experts_are_other_weights(self):
        result = self.train_small(self.folder / "from", *settings("shared"), "--init-from", self.trained("plain"))
        self.assertEqual(result.code, CHECKPOINT, result)
        self.assertIn("model.moe.shared_experts", result.err)

    def test_views_and_health_are_of_the_experts_that_are_chosen(self):
        run = self.trained("run", *settings("shared"))
        experts = json.loads((run / "config.json").read_text())["model"]["moe"]["num_experts"]
        self.assertEqual(len(json.loads((run / "routing.json").read_text())["layers"][0]["load"]), experts)
        views = json.loads(self.done("inspect", run, "--ablate", "--information", "--depth", "--top-k-sweep", "--similarity", "--saturation",
                                     "--json").out)
        self.assertEqual(len(views["ablation"]["layers"][0]["zeroed"]), experts)
        self.assertEqual(len(views["similarity"]["layers"][0]["output_overlap"]), experts)
        self.assertEqual(views["ablation"]["loss"], json.loads(self.done("eval", run, "--json").out)["loss"])


class DenseLayers(Trains):
    def json_of(self, *command):
        return json.loads(self.done(*command, "--json").out)

    def test_a_dense_model_has_no_router_in_any_file(self):
        run = self.trained("run", *settings("dense model"))
        names = {name for name in read_safetensors(self.weights(run))[0] if ".smoe." in name}
        self.assertEqual(names, {f"blocks.0.smoe.shared.0.net.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")})
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertFalse([key for row in rows for key in row if key.startswith("moe/")])
        self.assertEqual(json.loads((run / "routing.json").read_text())["layers"], [None])
        self.assertEqual(self.json_of("eval", run, "--data", self.text)["expert_load"], [[]])
        self.done("report", run)

    def test_a_dense_model_has_depth_to_show_and_no_routing(self):
        run = self.trained("run", *settings("dense model"))
        self.assertEqual(len(self.json_of("inspect", run, "--depth")["depth"]["layers"]), 1)
        self.refuse_all(USAGE, {"routing": (("inspect", run), "is a dense model, which routes nothing; ask for --depth"),
                                "a view": (("inspect", run, "--ablate"), ("--ablate: ", "is a dense model"))})

    def test_routing_and_views_leave_dense_layers_out(self):
        run = self.trained("run", *settings("dense layer"))
        info = self.json_of("info", run)
        plain = self.json_of("info", self.trained("plain", *settings("dense layer"), "--set", "model.moe.dense_layers=[]"))
        self.assertLess(info["parameters"], plain["parameters"])
        layers = self.json_of("inspect", run)["layers"]
        self.assertIsNone(layers[0])
        self.assertGreater(layers[1]["max_load"], 0)
        self.assertIn("expert 0", self.done("inspect", run, "--prompt", "a").out)
        keys = {key for line in (run / "metrics.jsonl").read_text().splitlines() for key in json.loads(line)}
        self.assertIn("moe/layer1/load", keys)
        self.assertIn("moe/layer1/dropped_fraction", keys)
        self.assertFalse([key for key in keys if key.startswith("moe/layer0/")])
        views = ("--ablate", "--information", "--depth", "--top-k-sweep", "--similarity", "--saturation")
        shown = self.json_of("inspect", run, *views)
        self.assertEqual(shown["ablation"]["layers"][0],
                         {"masked": [], "zeroed": [], "masked_by_class": [], "zeroed_by_class": []})
        loss = self.json_of("eval", run)["loss"]
        self.assertEqual(shown["ablation"]["loss"], loss)
        self.assertEqual(shown["top_k_sweep"]["losses"][shown["top_k"] - 1], loss)
        self.assertIsNone(shown["information"]["layers"][0]["symbol"]["share"])
        self.assertIsNone(shown["saturation"]["checkpoints"][0]["layers"][0]["kept"])
        self.done("inspect", run, *views, "--save")
        self.done("report", run)
        self.assertIn("Layer 1: load of each expert", (run / "report.html").read_text())

    def test_another_layer_or_width_is_another_model(self):
        run = self.trained("run", *settings("dense layer"))
        for change, key in (("model.moe.dense_layers=[1]", "model.moe.dense_layers"), ("model.moe.dense_width=8", "model.moe.dense_width"),
                            ("model.moe.top_k=1", "model.moe.top_k")):
            result = self.train_small(self.folder / "from", *settings("dense layer"), "--set", change, "--set",
                                      "model.moe.gate=softmax_topk", "--init-from", run)
            self.assertEqual(result.code, CHECKPOINT, result)
            self.assertIn(f"\n{key}: ", result.err)


class Ngrams(Trains):
    """Rows of tables belong to runs of symbols, which a text decides and a checkpoint remembers."""

    KEYS = "ngram.3.keys"

    def keys(self, run):
        header, data = read_safetensors(self.weights(run))
        begin, end = header[self.KEYS]["data_offsets"]
        values = array.array("q", data[begin:end])
        return [tuple(values[i:i + 3]) for i in range(0, len(values), 3)], header

    def test_the_keys_are_the_frequent_runs_of_the_text_to_train_on(self):
        run = self.trained("run", *settings("n-grams"))
        keys, header = self.keys(run)
        self.assertEqual(header["ngram.3.weight"]["shape"][0], len(keys))
        text = self.text.read_text()
        ids = {symbol: i for i, symbol in enumerate(sorted(set(text)))}
        train = [ids[symbol] for symbol in text[:int(0.9 * len(text))]]
        counts = collections.Counter(zip(train, train[1:], train[2:]))
        self.assertEqual([key for key in keys if len(ids) not in key], sorted(run for run, n in counts.items() if n >= 2))

    def test_they_go_along_in_exports_imports_and_counts(self):
        run = self.trained("run", *settings("n-grams"))
        out = self.folder / "w.safetensors"
        self.done("export", run, "--out", out)
        other = self.folder / "other"
        other.write_text("".join(sorted(set(self.text.read_text()))) * 3)  # the same symbols, no run of which is frequent
        self.done("import", out, "--config", run / "config.json", "--data", other, "--out", self.folder / "again")
        self.assertEqual(self.weights(self.folder / "again"), self.weights(run))
        info = json.loads(self.done("info", run, "--json").out)
        planned = json.loads(self.done("train", *self.small, *settings("n-grams"), "--dry-run", "--json", "--out", self.folder / "no").out)
        self.assertEqual(planned["parameters"], info["parameters"])
        keys, header = self.keys(run)
        width = header["ngram.3.weight"]["shape"][1]
        without = json.loads(self.done("info", self.trained("plain"), "--json").out)
        self.assertEqual(info["active_parameters"] - without["active_parameters"], 2 * width + 1)

    def test_weights_without_the_tables_are_no_beginning_for_a_model_with_them(self):
        plain = self.trained("plain")
        result = self.train_small(self.folder / "from", *settings("n-grams"), "--init-from", plain)
        self.assertEqual(result.code, CHECKPOINT, result)
        self.assertIn("model.ngram.orders", result.err)
        with_tables = self.trained("with", *settings("n-grams"))
        self.assertEqual(self.train_small(self.folder / "on", *settings("n-grams"), "--init-from", with_tables).code, 0)

    def test_a_table_without_rows_is_refused(self):
        result = self.train_small(self.folder / "none", "--set", "model.ngram.orders=[3]", "--set", "model.ngram.min_count=1000")
        self.assertEqual(result.code, 2, result)
        self.assertIn("model.ngram.min_count: no run of 3 symbols stands 1000 times", result.err)


class TiedWeights(Trains):
    """A tied tensor has two names in the original."""

    def setUp(self):
        super().setUp()
        self.tied = self.trained("tied", *settings("tied"))
        self.done("export", self.tied, "--out", self.folder / "w.safetensors")
        self.header, self.data = read_safetensors((self.folder / "w.safetensors").read_bytes())

    def importing(self, name, without=(), changed=(), tied=True):
        header, data = {k: v for k, v in self.header.items() if k != "__metadata__"}, bytearray(self.data)
        for tensor in changed:
            begin = header[tensor]["data_offsets"][0]
            data[begin : begin + 4] = b"\0\0\0\0"
        packed, out = b"", {}
        for tensor in sorted(set(header) - set(without)):
            begin, end = header[tensor]["data_offsets"]
            out[tensor] = dict(header[tensor], data_offsets=[len(packed), len(packed) + end - begin])
            packed += bytes(data[begin:end])
        weights = self.folder / f"{name}.safetensors"
        weights.write_bytes(safetensors(out, packed))
        config = self.folder / f"{name}.json"
        model = json.loads((self.tied / "config.json").read_text())
        model["model"]["tied"] = tied
        config.write_text(json.dumps(model))
        return ("import", weights, "--config", config, "--data", self.text, "--out", self.folder / name)

    def test_an_export_has_both_names_so_that_the_untied_original_computes_the_same(self):
        begin, end = self.header[TABLE]["data_offsets"]
        begin_2, end_2 = self.header[HEAD]["data_offsets"]
        self.assertEqual(self.data[begin:end], self.data[begin_2:end_2])
        self.done(*self.importing("untied", tied=False))
        self.assertEqual(self.loss(self.folder / "untied"), self.loss(self.tied))

    def test_either_name_and_both_are_imported(self):
        for name, without in {"both": (), "table": (HEAD,), "head": (TABLE,)}.items():
            with self.subTest(name):
                self.done(*self.importing(name, without=without))
                self.assertEqual(self.weights(self.folder / name), self.weights(self.tied))

    def test_different_values_under_the_two_names_are_refused(self):
        self.refuse_all(CHECKPOINT, {"other": (self.importing("other", changed=(HEAD,)), (HEAD, TABLE, "model.tied"))})

    def test_neither_name_is_refused(self):
        self.refuse_all(CHECKPOINT, {"none": (self.importing("none", without=(HEAD, TABLE)), (TABLE, "missing"))})


if __name__ == "__main__":
    main(at_least=2)
