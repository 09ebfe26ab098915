"""What is written down is what the program does: the config reference, and the README's commands."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BINARY = pathlib.Path(os.environ["MAKEMOE_BIN"])
SOURCE = pathlib.Path(os.environ["MAKEMOE_SOURCE_DIR"])
SHIPPED_TEXT = SOURCE / "data" / "the-lantern-keepers.txt"

# A published run takes minutes: the same commands, cut to a few updates of a narrow model.
SHORTER = ["train.max_iters=4", "train.eval_interval=2", "eval.mode=random", "eval.eval_iters=1", "threads=1"]
NARROWER = ["model.n_embed=16", "model.n_layer=1", "optim.schedule.warmup_iters=0"]

WRAPPER = """#!/usr/bin/env python3
import json, os, pathlib, subprocess, sys
arguments = sys.argv[1:]
if arguments[0] == "train":
    for pair in {shorter} + ([] if "--resume" in arguments else {narrower}):
        arguments += ["--set", pair]
if arguments[0] == "import" and "--config" in arguments:  # the weights are those of the narrower model
    config = json.loads(pathlib.Path(arguments[arguments.index("--config") + 1]).read_text())
    config["model"] |= {{"n_embed": 16, "n_layer": 1}}
    pathlib.Path("narrow.json").write_text(json.dumps(config))
    arguments[arguments.index("--config") + 1] = "narrow.json"
with open("commands.log", "a") as log:
    log.write(arguments[0] + "\\n")
os.execv({binary!r}, [{binary!r}, *arguments])
"""

STUB = "#!/bin/sh\nexit 0\n"


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Sandbox(unittest.TestCase):
    """A copy of the tree as a user has it after a build, whose makemoe trains briefly."""

    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        for name in ("configs", "data", "scripts"):
            shutil.copytree(SOURCE / name, self.root / name)
        (self.root / "data" / "tinyshakespeare.txt").unlink(missing_ok=True)
        executable(self.root / "build" / "makemoe",
                   WRAPPER.format(shorter=SHORTER, narrower=NARROWER, binary=str(BINARY)))
        # Set-up and build are the continuous integration's to run; here they succeed at once.
        executable(self.root / "scripts" / "setup.sh",
                   'MAKEMOE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"\nsetup_all() { :; }\n')
        for tool in ("cmake", "ctest"):
            executable(self.root / "bin" / tool, STUB)

    def shell(self, command, **env):
        path = f"{self.root / 'bin'}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(["bash", "-c", command], cwd=self.root, capture_output=True, text=True, timeout=300,
                              stdin=subprocess.DEVNULL, env={**os.environ, "PATH": path, **env})

    def offline(self):
        """No MAKEMOE_DATA_DIR, and downloads that fail at once."""
        for tool in ("curl", "wget"):
            executable(self.root / "bin" / tool, "#!/bin/sh\nexit 7\n")
        return {"MAKEMOE_DATA_DIR": ""}


class Readme(Sandbox):
    def test_every_command_of_the_readme_runs_as_it_stands_there(self):
        text = (SOURCE / "README.md").read_text()
        commands = [line.split("  #")[0].strip() for block in re.findall(r"```sh\n(.*?)```", text, re.S)
                    for line in block.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
        self.assertGreater(len(commands), 10)
        if not (pathlib.Path(os.environ.get("MAKEMOE_DATA_DIR", "")) / "tinyshakespeare.txt").is_file():
            executable(self.root / "data" / "fetch.sh", "#!/bin/sh\nexit 0\n")
            shutil.copy(SHIPPED_TEXT, self.root / "data" / "tinyshakespeare.txt")
        for command in commands:
            if command.startswith("git clone") or command.startswith("cd "):
                continue
            with self.subTest(command):
                result = self.shell(command)
                self.assertEqual(result.returncode, 0, result.stderr)

    def test_every_path_that_the_readme_names_exists(self):
        text = (SOURCE / "README.md").read_text()
        for path in sorted(set(re.findall(r"\b(?:docs|configs|scripts|bench|tests|src|include)/[\w./-]*\w", text))):
            self.assertTrue((SOURCE / path).exists(), path)


def anchors(text):
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Links(unittest.TestCase):
    def test_every_link_between_documents_points_to_a_file_and_a_heading(self):
        for document in (*SOURCE.glob("*.md"), *SOURCE.glob("docs/**/*.md")):
            for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
                path, _, anchor = link.partition("#")
                target = document.parent / path if path else document
                with self.subTest(document=document.name, link=link):
                    self.assertTrue("://" in link or target.exists())
                    if anchor and "://" not in link:
                        self.assertIn(anchor, anchors(target.read_text()))


class Quickstart(Sandbox):
    def test_it_prints_losses_and_a_sample_and_a_second_run_takes_another_folder(self):
        for run in ("quickstart", "quickstart-2"):
            result = self.shell("scripts/quickstart.sh")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertRegex(result.stdout, r"before: +\d\.\d+ nats")
            self.assertRegex(result.stdout, r"after: +\d\.\d+ nats")
            self.assertTrue((self.root / "runs" / run / "run.json").is_file())

    def test_without_network_it_trains_on_the_shipped_text_and_says_so(self):
        result = self.shell("scripts/quickstart.sh", **self.offline())
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("the-lantern-keepers.txt", result.stdout)
        run = json.loads((self.root / "runs" / "quickstart" / "run.json").read_text())
        self.assertTrue(run["data"]["path"].endswith("the-lantern-keepers.txt"))

    def test_fetch_says_what_to_do_when_the_text_cannot_be_had_and_leaves_nothing(self):
        result = self.shell("data/fetch.sh", **self.offline())
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("MAKEMOE_DATA_DIR", result.stderr)
        self.assertEqual(sorted(p.name for p in (self.root / "data").iterdir()),
                         ["fetch.sh", "the-lantern-keepers.txt"])

    def test_fetch_refuses_another_text_under_that_name(self):
        folder = self.root / "elsewhere"
        folder.mkdir()
        (folder / "tinyshakespeare.txt").write_text("To be, or not to be")
        result = self.shell("data/fetch.sh", MAKEMOE_DATA_DIR=str(folder))
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("sha256", result.stderr)
        self.assertFalse((self.root / "data" / "tinyshakespeare.txt").exists())


class Generated(unittest.TestCase):
    def test_the_config_reference_is_what_the_program_prints(self):
        result = subprocess.run([SOURCE / "scripts" / "docs.sh", "--check"], capture_output=True, text=True,
                                env={**os.environ, "MAKEMOE_BIN": str(BINARY)})
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_every_metric_that_a_run_writes_has_its_unit_in_the_documents(self):
        with tempfile.TemporaryDirectory() as folder:
            run = pathlib.Path(folder) / "run"
            subprocess.run([BINARY, "train", "--config", SOURCE / "configs" / "tiny.json", "--data", SHIPPED_TEXT,
                            "--out", run, "--set", "model.moe.capacity_factor=1"], check=True, capture_output=True)
            names = {key for line in (run / "metrics.jsonl").read_text().splitlines() for key in json.loads(line)}
        documented = (SOURCE / "docs" / "metrics.md").read_text()
        for name in names:
            self.assertIn(f"`{re.sub('layer[0-9]+', 'layerL', name)}`", documented)


if __name__ == "__main__":
    unittest.main()
