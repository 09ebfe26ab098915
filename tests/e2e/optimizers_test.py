"""What moves the weights: groups, schedules, Muon and averages, through training, resuming and files."""

import json

from support import TINY, USAGE, Case, main, read_safetensors, strict_json

MUON = ("optim.kind=muon",)
TURNS = (*MUON, "optim.muon.every=2", "optim.muon.coefficients=quintic", "optim.momentum_schedule.warmup_iters=2")
DECAYS = ("optim.schedule.kind=wsd", "optim.schedule.decay_fraction=0.7", "optim.cautious_decay=true", "optim.decay_schedule=linear",
          "optim.weight_decay=0.5")
AVERAGE = ("optim.average.start=0.5", "optim.average.tau=2", "train.keep_checkpoints=3")
VARIANTS = {"groups": ("optim.groups.expert.learning_rate_scale=0.5", "optim.groups.norm.weight_decay=0"),
            "decays": DECAYS, "muon": MUON, "turns": TURNS, "average": AVERAGE, "all": (*TURNS, *DECAYS, *AVERAGE)}


def settings(keys):
    return [word for key in keys for word in ("--set", key)]


class Trains(Case):
    def trained(self, name, keys, *arguments):
        run = self.folder / name
        result = self.train_small(run, *settings(keys), *arguments)
        self.assertEqual(result.code, 0, result)
        return run

    def file(self, run, name, step="last"):
        folder = run / "checkpoints"
        return (folder / ((folder / "last").read_text().strip() if step == "last" else f"step-{step:08d}") / name).read_bytes()

    def names(self, run):
        return set(read_safetensors(self.file(run, "optimizer.safetensors"))[0]) - {"step"}


class Resumes(Trains):
    def test_each_resumes_bit_for_bit_at_every_step_also_with_other_threads(self):
        published = self.trained("published", ())
        for name, keys in VARIANTS.items():
            with self.subTest(name):
                whole = self.trained(f"{name}-whole", keys)
                self.assertNotEqual(self.file(whole, "model.safetensors"), self.file(published, "model.safetensors"))
                for stop, threads in ((1, 1), (2, 3)):
                    stopped = self.trained(f"{name}-{stop}", keys, "--stop-after", stop)
                    self.done("train", "--resume", "--out", stopped, "--set", f"threads={threads}")
                    for file in ("model.safetensors", "optimizer.safetensors"):
                        self.assertEqual(self.file(stopped, file), self.file(whole, file), f"{file}, stopped at {stop}")

    def test_another_optimizer_or_any_key_of_it_is_refused_on_resume(self):
        run = self.trained("run", MUON, "--stop-after", 1)
        for key, says in (("optim.kind=adamw", 'optim.kind: "muon" in the run, "adamw" now'),
                          ("optim.muon.every=2", "optim.muon.every: 1 in the run, 2 now"),
                          ("optim.groups.head.weight_decay=1", "optim.groups.head.weight_decay: null in the run, 1.0 now"),
                          ("optim.average.start=0.5", "optim.average.start: null in the run, 0.5 now")):
            self.assert_refused(self.train_small(run, "--resume", *settings(MUON), "--set", key), USAGE, says)


class Files(Trains):
    def test_muon_keeps_one_momentum_of_its_matrices_and_moments_of_the_rest(self):
        names = self.names(self.trained("run", MUON))
        for name in ("momentum.blocks.0.sa.heads.1.query.weight", "momentum.blocks.0.smoe.experts.2.net.0.weight",
                     "exp_avg.blocks.0.smoe.experts.2.net.0.bias", "exp_avg_sq.blocks.0.smoe.router.noise_linear.weight",
                     "exp_avg.lm_head.weight"):
            self.assertIn(name, names)
        for name in ("exp_avg.blocks.0.sa.proj.weight", "momentum.lm_head.weight", "momentum.blocks.0.ln1.weight"):
            self.assertNotIn(name, names)

    def test_another_run_begins_with_the_weights_of_either_optimizer(self):
        for name, keys, other in (("muon", MUON, ()), ("adamw", (), MUON)):
            run = self.trained(name, keys)
            self.trained(f"from-{name}", other, "--init-from", run)


class Average(Trains):
    def losses(self, run):
        rows = [strict_json(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return {row["step"]: row["val/loss"] for row in rows if "val/loss" in row}

    def test_a_checkpoint_evaluates_as_the_run_did_at_its_step(self):
        run, plain = self.trained("run", AVERAGE), self.trained("plain", ())
        averaged, trained = self.losses(run), self.losses(plain)
        self.assertEqual(averaged[1], trained[1], "not begun")
        self.assertNotEqual(averaged[3], trained[3])
        for step in (1, 3):
            loss = json.loads(self.done("eval", f"{run}@{step}", "--split", "val", "--json").out)["loss"]
            self.assertAlmostEqual(loss, averaged[step], delta=1e-9)

    def test_training_goes_on_with_the_weights_themselves(self):
        run, plain = self.trained("run", AVERAGE), self.trained("plain", ())
        steps = [[json.loads(line)["train/step_loss"] for line in (one / "metrics.jsonl").read_text().splitlines()
                  if "train/step_loss" in line] for one in (run, plain)]
        self.assertEqual(*steps)
        header, data = read_safetensors(self.file(run, "optimizer.safetensors"))
        want_header, want = read_safetensors(self.file(plain, "model.safetensors"))
        part = lambda h, d, name: d[slice(*h[name]["data_offsets"])]
        for name in want_header.keys() - {"__metadata__"}:
            if "embedding" in name:
                self.assertNotIn(f"trained.{name}", header)
            else:
                self.assertEqual(part(header, data, f"trained.{name}"), part(want_header, want, name), name)


class Bench(Case):
    def test_it_tells_newton_schulz_apart(self):
        bench = lambda *keys: strict_json(self.done("bench", "--config", TINY, "--set", "threads=1", "--steps", 1, *settings(keys), "--json").out)
        self.assertNotIn("newton_schulz", bench()["machine"])
        each, turns = (bench(*keys)["machine"]["newton_schulz"] for keys in (MUON, (*MUON, "optim.muon.every=2")))
        self.assertEqual(set(each), {"gflop_per_step", "gflops", "ms_per_step"})
        self.assertLess(turns["gflop_per_step"], each["gflop_per_step"])


if __name__ == "__main__":
    main(0)
