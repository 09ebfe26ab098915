"""makemoe report: a page that holds what metrics.jsonl holds, needs nothing else, and runs nothing."""

import html.parser
import json
import re
import shutil
import unittest

from support import BUG, RESOURCES, USAGE, RunCase, makemoe, tree
from tracked import rows_of

VOID = {"meta", "br", "hr", "img", "input", "link"}
WANTED = {"losses", "rates", "config", "run-0-routing", "run-0-samples", "run-0-checkpoints", "run-0-origin"}


class Page(html.parser.HTMLParser):
    """Tags with their attributes, ids, what links and colours name, and what is not closed as it was opened."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.wrong = [], [], [], []
        self.feed(text)
        self.close()
        self.ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


class Reports(RunCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sampled = cls.home / "sampled"
        result = cls.train_small(cls.sampled, "--set", "train.sample_interval=1", "--set", "model.n_layer=2")
        assert result.code == 0, result

    def page(self, file):
        text = file.read_text(encoding="utf-8")
        page = Page(text)
        self.assertEqual((page.wrong, page.open), ([], []))
        return text, page

    def test_every_run_has_one_that_is_sound_and_complete_in_itself(self):
        text, page = self.page(self.sampled / "report.html")
        self.assertLessEqual(WANTED, set(page.ids))
        self.assertEqual(len(page.ids), len(set(page.ids)))
        self.assertEqual(page.named("script") + page.named("img") + page.named("link"), [])
        for tag, attributes in page.tags:
            for name, value in attributes.items():
                self.assertFalse(name.startswith("on"), (tag, name))
                self.assertNotRegex(value or "", r"(?i)https?:|//|url\(|javascript:", (tag, name))
        self.assertNotRegex(re.search(r"<style>(.*?)</style>", text, re.S)[1], r"url\(|@import|https?:")
        for link in page.named("a"):
            self.assertIn(link["href"].removeprefix("#"), page.ids)

    def test_every_chart_is_an_image_with_a_name_that_is_there(self):
        _, page = self.page(self.sampled / "report.html")
        charts = [svg for svg in page.named("svg") if svg.get("aria-hidden") != "true"]
        self.assertGreaterEqual(len(charts), 8)
        for svg in charts:
            self.assertEqual(svg["role"], "img")
            for name in svg["aria-labelledby"].split():
                self.assertIn(name, page.ids)
        self.assertEqual(len(page.named("table")), len(page.named("caption")))

    def test_it_holds_the_figures_of_metrics_jsonl_and_the_samples(self):
        _, page = self.page(self.sampled / "report.html")
        cells = {text.removesuffix(" (best)") for text in page.texts}
        rows = [row for row in rows_of(self.sampled) if "val/loss" in row]
        self.assertGreater(len(rows), 2)
        numbers = {float(cell) for cell in cells if re.fullmatch(r"\d+\.\d+", cell)}
        for row in rows:
            self.assertIn(row["val/loss"], numbers)
            self.assertIn(row["train/loss"], numbers)
        for layer in (0, 1):
            for share in rows[-1][f"moe/layer{layer}/load"]:
                self.assertIn(f"{share * 100:.1f} %", cells)
            for share in rows[-1][f"moe/layer{layer}/gate_mass"]:
                self.assertIn(f" ({share * 100:.1f} %)", cells)
        for line in (self.sampled / "samples.jsonl").read_text().splitlines():
            self.assertIn(json.loads(line)["text"], "".join(page.texts))

    def test_several_runs_go_into_one_page_with_their_differences_marked(self):
        out = self.folder / "both.html"
        result = self.done("report", self.run_folder, self.sampled, "--out", out)
        self.assertEqual((result.out, result.err), (f"{out}\n", ""))
        text, _ = self.page(out)
        table = re.search(r"Keys in which the runs differ</caption>(.*?)</table>", text, re.S)[1]
        self.assertEqual(re.findall(r"<th scope=\"row\"><code>(.*?)</code>", table), ["model.n_layer", "train.sample_interval"])

    def test_the_same_run_gives_the_same_bytes(self):
        first = (self.run_folder / "report.html").read_bytes()
        out = self.folder / "again.html"
        self.done("report", self.run_folder, "--out", out)
        self.assertEqual(out.read_bytes(), first)

    def test_what_a_run_holds_can_not_run(self):
        run, _ = self.copy_of_run()
        evil = "</pre></svg><script>alert(1)</script><img src=x onerror=alert(1)> \x00 \x1b"
        (run / "samples.jsonl").write_text(json.dumps({"step": 1, "text": evil}) + "\n")
        config = json.loads((run / "config.json").read_text())
        config["data"]["path"] = evil
        (run / "config.json").write_text(json.dumps(config))
        routing = json.loads((run / "routing.json").read_text())
        routing["symbols"][0] = evil
        (run / "routing.json").write_text(json.dumps(routing))
        self.done("report", run)
        _, page = self.page(run / "report.html")
        self.assertEqual(page.named("script") + page.named("img"), [])
        self.assertIn("<script>alert(1)</script>", "".join(page.texts))

    def test_what_is_damaged_is_left_out_and_said(self):
        for name, content, says in (("metrics.jsonl", b"", "has no rows"), ("metrics.jsonl", b"\xff{]\n{\"step\": 1", "has no rows"),
                                    ("metrics.jsonl", b'{"step":-5,"val/loss":1e308,"lr":1}\n{"step":9,"val/loss":-1e308}\n', ""),
                                    ("config.json", b"[1, 2]", "config.json does not read"), ("run.json", b"{", "run.json does not read"),
                                    ("routing.json", b'{"symbols": 3, "layers": {}}', ""), ("run.json", None, "run.json is missing")):
            with self.subTest(name=name, content=content):
                run, _ = self.copy_of_run(f"copy-{len(list(self.folder.iterdir()))}")
                if content is None:
                    (run / name).unlink()
                else:
                    (run / name).write_bytes(content)
                self.assert_clean(self.done("report", run))
                _, page = self.page(run / "report.html")
                self.assertIn(says, "".join(page.texts))

    def test_bad_arguments_are_refused_and_nothing_is_written(self):
        before = tree(self.folder)
        for arguments, code, says in ((("report",), USAGE, "run"), (("report", self.folder), RESOURCES, "no run folder"),
                                      (("report", self.run_folder, self.folder / "absent"), RESOURCES, "absent"),
                                      (("report", self.run_folder, "--out", ""), USAGE, "--out"),
                                      (("report", self.run_folder, "--out", "/dev/null/x"), RESOURCES, "/dev/null"),
                                      (("sweep", "report", self.run_folder), (USAGE, RESOURCES), str(self.run_folder))):
            with self.subTest(arguments=arguments):
                self.assert_refused(makemoe(*arguments), code, says)
        self.assertEqual(tree(self.folder), before)

    def test_one_that_can_not_be_written_is_a_warning_and_the_run_is_as_without(self):
        run = self.folder / "run"
        run.mkdir()
        (self.folder / "elsewhere").mkdir()
        result = self.train_small(run, "--stop-after", 1)
        self.assertEqual(result.code, 0, result)
        (run / "report.html").unlink()
        (run / "report.html").mkdir()  # a folder in its place
        (run / "report.html" / "full").touch()
        result = self.train_small(run, "--resume")
        self.assertEqual(result.code, 0, result)
        self.assertIn("warning: ", result.err)
        self.assertIn("report.html", result.err)
        self.assert_same_end(run, self.run_folder)

    def test_a_stopped_run_and_one_that_failed_have_one_too(self):
        for name, more, status in (("stopped", ("--stop-after", 1), "stopped"),
                                   ("failed", ("--set", "optim.learning_rate=1e30"), "failed")):
            run = self.folder / name
            result = self.train_small(run, *more)
            self.assertNotEqual(result.code, BUG, result)
            _, page = self.page(run / "report.html")
            self.assertIn(status, page.texts)


class Sweeps(RunCase):
    def test_a_sweep_ends_with_a_page_of_its_trials(self):
        file, out = self.folder / "sweep.json", self.folder / "sweep"
        overrides = dict(pair.split("=") for pair in self.small if isinstance(pair, str) and "=" in pair)
        file.write_text(json.dumps({
            "base": self.small[1].as_posix(), "set": {"data.path": str(self.text), **{k: int(v) for k, v in overrides.items()}},
            "space": {"optim.learning_rate": {"float": [0.001, 0.01], "log": True}}, "strategy": {"kind": "random"},
            "budget": {"trials": 3, "workers": 1}}))
        self.done("sweep", "run", file, "--out", out)
        first = (out / "report.html").read_bytes()
        page = Page(first.decode())
        self.assertEqual((page.wrong, page.open, page.named("script")), ([], [], []))
        for trial in range(3):
            link = f"trials/{trial:05d}/report.html"
            self.assertIn(link, [a["href"] for a in page.named("a")])
            self.assertTrue((out / link).exists())
        best = json.loads(self.done("sweep", "best", out, "--json").out)
        self.assertIn(f"{best['value']:.4f}", page.texts)
        self.assertEqual(self.done("sweep", "report", out).out, f"{out / 'report.html'}\n")
        self.assertEqual((out / "report.html").read_bytes(), first)
        shutil.rmtree(out / "trials")
        self.done("report", out)


if __name__ == "__main__":
    unittest.main()
