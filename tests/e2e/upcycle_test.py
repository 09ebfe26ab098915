"""`makemoe upcycle`: a dense model becomes a mixture with the same loss, which can be trained on."""

from support import CHECKPOINT, RESOURCES, STEPS, USAGE, Case, main, read_safetensors, strict_json

DENSE = ("model.moe.num_experts=0", "model.moe.shared_experts=1")
ONE_EXPERT = ("model.moe.num_experts=1", "model.moe.top_k=1")
ROUNDING = 1e-5  # of a loss in float


def settings(keys):
    return [word for key in keys for word in ("--set", key)]


class Upcycle(Case):
    def setUp(self):
        super().setUp()
        self.dense = self.trained("dense", DENSE)

    def trained(self, name, keys):
        run = self.folder / name
        self.assertEqual(self.train_small(run, *settings(keys)).code, 0)
        return run

    def upcycled(self, run, *arguments, out="sparse"):
        out = self.folder / out
        self.done("upcycle", run, "--num-experts", 4, "--out", out, *arguments)
        return out

    def loss(self, run):
        return strict_json(self.done("eval", run, "--json").out)["loss"]

    def tensors(self, run, step):
        header, data = read_safetensors((run / "checkpoints" / f"step-{step:08d}" / "model.safetensors").read_bytes())
        return {name: data[slice(*entry["data_offsets"])] for name, entry in header.items() if name != "__metadata__"}

    def test_the_loss_is_that_of_the_dense_model(self):
        for number, (keys, arguments) in enumerate((
                (DENSE, ()), (DENSE, ("--top-k", 3)), (DENSE, settings(("model.moe.gate=sigmoid", "model.moe.router=topk"))),
                (ONE_EXPERT, ()), ((*DENSE, "model.moe.activation=swiglu", "model.bias=false", "model.tied=true", "model.norm=rms"), ()))):
            with self.subTest(keys=keys, arguments=arguments):
                run = self.trained(f"dense-{number}", keys)
                sparse = self.upcycled(run, *arguments, out=f"sparse-{number}")
                self.assertAlmostEqual(self.loss(sparse), self.loss(run), delta=ROUNDING)

    def test_every_expert_is_the_mlp_and_the_rest_is_as_it_was(self):
        sparse = self.upcycled(self.dense)
        info = strict_json(self.done("info", sparse, "--json").out)
        self.assertEqual((info["step"], info["config"]["model"]["moe"]["num_experts"], info["config"]["model"]["moe"]["shared_experts"]), (0, 4, 0))
        before, after = self.tensors(self.dense, STEPS), self.tensors(sparse, 0)
        for name, values in after.items():
            if ".router." in name:
                continue
            source = name
            for expert in range(4):
                source = source.replace(f".experts.{expert}.", ".shared.0.")
            self.assertEqual(values, before[source], name)
        self.assertEqual(sum(".experts." in name for name in after), 4 * 4)
        self.assertEqual(len([name for name in after if ".router." in name]), 4)

    def test_it_trains_on_and_the_copies_part(self):
        sparse = self.upcycled(self.dense, *settings(("model.moe.balance.kind=switch", f"train.max_iters={2 * STEPS}")))
        result = strict_json(self.done("train", "--resume", "--out", sparse, "--json").out)
        self.assertEqual(result["step"], 2 * STEPS)
        trained = self.tensors(sparse, 2 * STEPS)
        first, second = (trained[f"blocks.0.smoe.experts.{e}.net.0.weight"] for e in (0, 1))
        self.assertNotEqual(first, second)
        other = self.folder / "other"
        self.done("train", "--config", sparse / "config.json", "--data", self.text, "--init-from", sparse, "--out", other,
                  "--stop-after", 1)

    def test_the_same_seed_gives_the_same_run(self):
        one, two, three = self.upcycled(self.dense, out="one"), self.upcycled(self.dense, out="two"), \
            self.upcycled(self.dense, "--set", "seed=7", out="three")
        self.assertEqual(self.tensors(one, 0), self.tensors(two, 0))
        self.assertNotEqual(self.tensors(one, 0), self.tensors(three, 0))

    def test_what_would_begin_as_another_model_is_refused_with_the_reason(self):
        mixture, out = self.trained("mixture", ()), self.folder / "none"
        self.refuse_all(USAGE, {label: (("upcycle", run, "--num-experts", 4, "--out", out, *arguments), says)
                                for label, run, arguments, says in (
            ("a mixture", mixture, (), "is not one plain MLP"),
            ("a gate", self.dense, settings(("model.moe.gate=softmax_topk",)), "must sum to 1"),
            ("another width", self.dense, settings(("model.moe.expert_width=8",)), "model.moe.expert_width"),
            ("another activation", self.dense, settings(("model.moe.activation=silu",)), "model.moe.activation"),
            ("another shape", self.dense, settings(("model.n_head=2",)), "model.n_head: 4 in the run, 2 now"),
            ("shared experts", self.dense, settings(("model.moe.shared_experts=1",)), "nothing beside it"),
            ("one of many", self.dense, ("--top-k", 1), "model.moe.top_k: with 1"),
            ("too many", self.dense, ("--top-k", 5), "5 is more than model.moe.num_experts 4"))})
        self.refuse_all(USAGE, {"no number": (("upcycle", self.dense, "--out", out), "--num-experts is required"),
                                "one expert": (("upcycle", self.dense, "--num-experts", 1, "--out", out), "give 2 to 1024")})
        self.refuse_all(CHECKPOINT, {"no run": (("upcycle", self.folder / "nowhere", "--num-experts", 4, "--out", out), "nowhere")})
        self.refuse_all(RESOURCES, {"full": (("upcycle", self.dense, "--num-experts", 4, "--out", self.dense), "already holds files")})


if __name__ == "__main__":
    main(at_least=10)
