"""The study: each of its rows has a config that loads, and the script trains and measures a row."""

import json
import subprocess
import sys

from support import BINARY, SOURCE, TEXT, Case, environment, main

SCRIPT = SOURCE / "bench" / "study.py"
RECORD = SOURCE / "docs" / "study.json"
RECIPES = SOURCE / "docs" / "recipes.md"
CONFIGS = SOURCE / "configs" / "study"


def study(*arguments):
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False,
                          env=environment({"MAKEMOE_SOURCE_DIR": str(SOURCE)}))
    return done.returncode, done.stdout, done.stderr


class Study(Case):
    def rows(self):
        return [line.split()[0] for line in study("list")[1].splitlines()]

    def test_rows_and_configs_are_the_same_and_each_loads(self):
        self.assertEqual(sorted(self.rows()), sorted(path.stem for path in CONFIGS.glob("*.json")))
        for row in self.rows():
            with self.subTest(row):
                self.done("config", "check", CONFIGS / f"{row}.json")

    def test_a_row_in_the_short_form_is_trained_and_measured_once(self):
        out = self.folder / "runs"
        arguments = ("run", "published", "--short", "--program", BINARY, "--data", TEXT, "--out", out)
        code, shown, errors = study(*arguments)
        self.assertEqual(code, 0, errors)
        result = json.loads((out / "published-1337" / "result.json").read_text())
        self.assertEqual(result["steps"], 30)
        self.assertLess(result["first_half"] + result["second_half"], 2 * 4.17)  # ln 65: nothing learned
        self.assertIn(f"{result['loss']:.4f}", shown)
        trained = (out / "published-1337" / "metrics.jsonl").read_bytes()
        self.assertEqual(study(*arguments)[0], 0)
        self.assertEqual((out / "published-1337" / "metrics.jsonl").read_bytes(), trained)

    def test_a_row_that_is_not_there_is_named(self):
        code, _, errors = study("run", "nothing")
        self.assertNotEqual(code, 0)
        self.assertIn("no such row: nothing", errors)

    def test_the_tables_of_the_page_are_those_of_the_record(self):
        page = RECIPES.read_text(encoding="utf-8")
        rows = [line for line in study("table")[1].splitlines() if line.startswith("| `")]
        self.assertTrue(rows)
        for row in rows:
            self.assertIn(row, page)

    def test_a_measured_row_has_a_config(self):
        for run in json.loads(RECORD.read_text())["runs"]:
            self.assertTrue((SOURCE / run["config"]).exists(), run["config"])


if __name__ == "__main__":
    main(at_least=0)
