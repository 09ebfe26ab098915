"""A run of an older makemoe continues (tests/golden/write_old_run.py made it)."""

import json
import shutil

from support import SOURCE, Case, main, strict_json

OLD_RUN = SOURCE / "tests" / "golden" / "old_run"
TEXT = SOURCE / "data" / "the-lantern-keepers.txt"
# Sums in other orders, on other processors: float keeps seven digits, over five updates of a tiny model.
LOSS_TOLERANCE = 1e-5


class OldRun(Case):
    def test_a_run_of_an_older_version_continues_with_the_same_losses(self):
        run = self.folder / "run"
        shutil.copytree(OLD_RUN, run)
        self.done("train", "--resume", "--out", run, "--data", TEXT)
        want = {int(step): loss for step, loss in strict_json((OLD_RUN / "losses.json").read_text()).items()}
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        got = {row["step"]: row["train/step_loss"] for row in rows if row["step"] in want and "train/step_loss" in row}
        self.assertEqual(got.keys(), want.keys())
        for step, loss in want.items():
            self.assertAlmostEqual(got[step] / loss, 1, delta=LOSS_TOLERANCE, msg=step)

    def test_its_weights_are_read(self):
        info = strict_json(self.done("info", OLD_RUN, "--json").out)
        self.assertEqual(info["step"], 10)
        self.done("eval", OLD_RUN, "--data", TEXT, "--json")


if __name__ == "__main__":
    main(0)
