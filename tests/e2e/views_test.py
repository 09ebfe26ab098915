"""Views of a trained mixture: `inspect --ablate` and its like as JSON, as tables, and in a run's report."""

import html.parser
import json
import math
import shutil
import unittest

from support import CHECKPOINT, DATA, NUMERICS, STEPS, USAGE, RunCase, makemoe, read_safetensors, reseal, safetensors, strict_json

LAYERS, EXPERTS, TOP_K = 2, 4, 2
VIEWS = {"--ablate": "ablation", "--information": "information", "--depth": "depth", "--top-k-sweep": "top_k_sweep",
         "--similarity": "similarity", "--saturation": "saturation"}
CLASSES = ("lower case", "upper case", "digit", "punctuation", "space", "newline", "other")
FACTORS = ("symbol", "previous", "next", "position")
COLUMNS = 80


def shape(*keys):
    return tuple(part for key in keys for part in ("--set", f"model.{key}"))


class Captions(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.texts = []
        self.feed(text)

    def handle_data(self, data):
        self.texts.append(data)


class Views(RunCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.deep = cls.home / "deep"
        result = cls.train_small(cls.deep, *shape(f"n_layer={LAYERS}"), "--set", "train.keep_checkpoints=10",
                                 "--set", "train.checkpoint_interval=1")
        if result.code != 0:
            raise AssertionError(result)
        cls.loss = strict_json(makemoe("eval", cls.deep, "--json").out)["loss"]

    def view(self, run, *flags):
        return strict_json(self.done("inspect", run, *flags, "--json").out)

    def test_json_has_each_view_that_was_asked_for_and_no_other(self):
        answer = self.view(self.deep, *VIEWS)
        head = ["checkpoint", "step", "split", "num_experts", "top_k", "windows"]
        self.assertEqual(list(answer), [*head, *VIEWS.values(), "seconds"])
        self.assertEqual([answer[key] for key in head[1:]], [STEPS, "val", EXPERTS, TOP_K, None])
        alone = self.view(self.deep, "--depth")
        self.assertEqual(list(alone), [*head, "depth", "seconds"])
        self.assertEqual(alone["depth"], answer["depth"])

    def test_views_of_the_whole_model_have_the_loss_of_eval(self):
        answer = self.view(self.deep, *VIEWS)
        self.assertEqual(answer["ablation"]["loss"], self.loss)
        self.assertEqual(answer["depth"]["layers"][-1]["mixture"], self.loss)
        self.assertEqual(answer["top_k_sweep"]["losses"][TOP_K - 1], self.loss)
        self.assertEqual((answer["top_k_sweep"]["top_k"], len(answer["top_k_sweep"]["losses"])), (TOP_K, EXPERTS))

    def test_classes_of_targets_weighed_by_their_number_have_the_loss_and_its_rise(self):
        ablation = self.view(self.deep, "--ablate")["ablation"]
        self.assertEqual(tuple(one["class"] for one in ablation["classes"]), CLASSES)
        weights = [one["tokens"] for one in ablation["classes"]]

        def mean(values):
            return sum(weight * (value or 0) for weight, value in zip(weights, values)) / sum(weights)

        self.assertAlmostEqual(mean([one["loss"] for one in ablation["classes"]]), self.loss, places=5)
        for layer in ablation["layers"]:
            for key in ("masked", "zeroed"):
                for rise, by_class in zip(layer[key], layer[f"{key}_by_class"]):
                    self.assertAlmostEqual(mean(by_class), rise, places=5)
        for one, rise in zip(ablation["classes"], ablation["layers"][0]["masked_by_class"][0]):
            self.assertEqual((one["loss"] is None, rise is None), (one["tokens"] == 0,) * 2)

    def test_gains_of_all_layers_sum_to_what_the_model_gains(self):
        depth = self.view(self.deep, "--depth")["depth"]
        gains = sum(layer[f"{part}_gain"] for layer in depth["layers"] for part in ("attention", "mixture"))
        self.assertAlmostEqual(depth["embedding"] - gains, self.loss, places=12)

    def test_every_layer_and_expert_has_its_figures(self):
        answer = self.view(self.deep, *VIEWS)
        for key in ("ablation", "information", "depth", "similarity"):
            self.assertEqual(len(answer[key]["layers"]), LAYERS)
        for layer in answer["ablation"]["layers"]:
            self.assertEqual([len(layer[key]) for key in ("masked", "zeroed")], [EXPERTS, EXPERTS])
            for key in ("masked", "zeroed"):
                self.assertEqual([len(rises) for rises in layer[f"{key}_by_class"]], [len(CLASSES)] * EXPERTS)
        for layer in answer["information"]["layers"]:
            self.assertEqual(tuple(layer), FACTORS)
            for factor in layer.values():
                self.assertTrue(0 <= factor["share"] <= 1)
                self.assertLessEqual(factor["information"], math.log(EXPERTS) + 0.01)
        for layer in answer["similarity"]["layers"]:
            self.assertEqual([len(row) for row in layer["output_overlap"]], [EXPERTS] * EXPERTS)
            self.assertEqual(layer["chance"], layer["rank"] / 32)
            for e in range(EXPERTS):
                self.assertAlmostEqual(layer["router_cosine"][e][e], 1)
                self.assertAlmostEqual(layer["output_overlap"][e][e], 1)
                if layer["tokens"][e]:
                    self.assertLessEqual(layer["reap"][e], layer["output_norm"][e])

    def test_saturation_has_every_kept_checkpoint_and_ends_at_one(self):
        stages = self.view(self.deep, "--saturation")["saturation"]["checkpoints"]
        steps = sorted(int(p.name.removeprefix("step-")) for p in (self.deep / "checkpoints").glob("step-*"))
        self.assertGreater(len(steps), 2)
        self.assertEqual([stage["step"] for stage in stages], steps)
        for layer in range(LAYERS):
            column = [stage["layers"][layer] for stage in stages]
            self.assertEqual(column[-1]["kept"], 1)
            self.assertAlmostEqual(column[-2]["kept"], 1 - column[-1]["flips"])
            self.assertIsNone(column[0]["flips"])
            self.assertTrue(all(0 <= one["kept"] <= 1 and one["margin"] >= 0 for one in column))

    def test_damaged_checkpoints_are_no_stages(self):
        run = self.folder / "copy"
        shutil.copytree(self.deep, run)
        first = min((run / "checkpoints").glob("step-*"))
        (first / "model.safetensors").write_bytes(b"torn")
        stages = self.view(run, "--saturation")["saturation"]["checkpoints"]
        self.assertNotIn(int(first.name.removeprefix("step-")), [stage["step"] for stage in stages])

    def test_one_checkpoint_is_compared_with_itself(self):
        run, _ = self.copy_of_run()
        stages = self.view(run, "--saturation")["saturation"]["checkpoints"]
        self.assertEqual([stage["step"] for stage in stages], [STEPS])
        self.assertEqual((stages[0]["layers"][0]["kept"], stages[0]["layers"][0]["flips"]), (1, None))
        self.done("inspect", run, "--saturation")

    def test_tables_fit_a_terminal(self):
        for flag in VIEWS:
            out = self.done("inspect", self.deep, flag).out
            self.assertLessEqual(max(len(line) for line in out.splitlines()[1:]), COLUMNS, flag)
            self.assertRegex(out, r"\n(expert 0|layer 1|symbol|1|router, mean|\d) ", flag)

    def test_few_windows_are_few_tokens(self):
        answer = self.view(self.deep, "--information", "--windows", 3)
        self.assertEqual((answer["windows"], answer["information"]["layers"][0]["symbol"]["tokens"]), (3, 48))
        self.assertEqual(self.view(self.deep, "--windows", 3)["tokens"], 48)

    def test_one_expert_all_experts_and_routers_without_bias_have_views(self):
        for keys, masked in ((("moe.num_experts=1", "moe.top_k=1"), [None]), (("moe.top_k=4",), None),
                             (("bias=false", "moe.router=topk"), None), (("moe.gate=softmax_topk", "moe.top_k=1"), None)):
            run = self.folder / "-".join(keys)
            self.assertEqual(self.train_small(run, *shape(*keys)).code, 0)
            answer = self.view(run, *VIEWS)
            found = answer["ablation"]["layers"][0]["masked"]
            self.assertTrue(found == masked if masked else all(isinstance(rise, float) for rise in found))
            if masked:
                self.assertIsNone(answer["information"]["layers"][0]["symbol"]["share"])
            self.assertEqual(answer["saturation"]["checkpoints"][0]["layers"][0]["margin"] is None,
                             answer["num_experts"] == answer["top_k"])
            for flag in VIEWS:
                self.done("inspect", run, flag)

    def test_a_vocabulary_of_thousands_has_views(self):
        text = self.folder / "many.txt"
        text.write_text("".join(chr(0x4E00 + i * 7 % 6000) for i in range(9000)))
        run = self.folder / "many"
        result = makemoe("train", *self.small, "--data", text, "--out", run, "--set", "train.max_iters=1")
        self.assertEqual(result.code, 0, result)
        answer = self.view(run, *VIEWS)
        self.assertEqual(answer["information"]["layers"][0]["symbol"]["tokens"], 899)

    def test_save_writes_what_the_report_shows(self):
        run = self.folder / "copy"
        shutil.copytree(self.deep, run)
        answer = strict_json(self.done("inspect", run, *VIEWS, "--windows", 8, "--save", "--json").out)
        for key in VIEWS.values():
            kept = strict_json((run / "inspect" / f"{key}.json").read_text())
            self.assertEqual(kept[key], answer[key])
            self.assertEqual((kept["step"], kept["split"], kept["windows"]), (STEPS, "val", 8))
        self.done("report", run)
        words = "".join(Captions((run / "report.html").read_text()).texts)
        for title in ("Views of the mixture", "Loss without an expert", "What a choice follows from", "Loss by depth",
                      "Loss by number of experts", "What each expert does", "Saturation of the routing"):
            self.assertIn(title, words)
        self.assertNotIn("inspect", {p.name for p in self.deep.iterdir()})

    def test_what_is_damaged_among_views_is_left_out_of_the_report(self):
        run, _ = self.copy_of_run()
        (run / "inspect").mkdir()
        evil = "<script>alert(1)</script>"
        for content in (b"{", b"[]", b'{"ablation": 3, "depth": {"layers": [1, null, {}]}, "top_k_sweep": {"losses": [null, "x"]}}',
                        json.dumps({"step": 1e300, "split": evil, "windows": evil, "information": {"layers": [{"symbol": evil}]},
                                    "saturation": {"checkpoints": [{"step": 1, "layers": [3]}, {}]},
                                    "similarity": {"layers": [{"reap": [1e308, -1e308, None]}]}}).encode()):
            for key in VIEWS.values():
                (run / "inspect" / f"{key}.json").write_bytes(content)
            self.assert_clean(self.done("report", run))
            self.assertNotIn("<script", (run / "report.html").read_text())

    def test_bad_requests_are_refused(self):
        alone = self.copy_of_checkpoint("alone")
        self.refuse_all(USAGE, {"nothing to save": (("inspect", self.deep, "--save"), "add a view"),
                                "a prompt beside a view": (("inspect", self.deep, "--depth", "--prompt", "a"), "--prompt"),
                                "no windows": (("inspect", self.deep, "--depth", "--windows", 0), "--windows"),
                                "half a window": (("inspect", self.deep, "--depth", "--windows", "0.5"), "--windows"),
                                "a typo": (("inspect", self.deep, "--ablat"), "did you mean --ablate?")})
        self.refuse_all(CHECKPOINT, {"stages of no run": (("inspect", alone, "--data", self.text, "--saturation"), "in no run"),
                                     "a folder to save in": (("inspect", alone, "--data", self.text, "--depth", "--save"), "--save"),
                                     "no checkpoint": (("inspect", self.folder / "absent", "--ablate"), "absent")})
        self.refuse_all(DATA, {"no text": (("inspect", self.deep, "--depth", "--data", self.folder / "none"), "none")})

    def test_weights_that_are_not_finite_end_with_5(self):
        run, checkpoint = self.copy_of_run("nan")
        path = checkpoint / "model.safetensors"
        header, data = read_safetensors(path.read_bytes())
        begin, end = header["token_embedding_table.weight"]["data_offsets"]
        path.write_bytes(safetensors(header, data[:begin] + b"\xff" * (end - begin) + data[end:]))
        reseal(checkpoint, lambda manifest: {**manifest, "tensors": {}})
        for flag in VIEWS:
            if flag != "--saturation":  # which takes sound checkpoints alone
                result = makemoe("inspect", run, flag, "--allow-nonfinite")
                self.assert_refused(result, NUMERICS, "earlier checkpoint")


if __name__ == "__main__":
    unittest.main()
