"""A real MLflow server, started here: what it says of a run is what metrics.jsonl holds. Slow: it takes half a
minute to start, and minutes to install where it is not yet."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

import venvs
from support import RunCase, makemoe, start, strict_json, wait_for
from tracked import ENDLESS, assert_as_without_tracking, mlflow_metrics, mlflow_params, rows_of

STARTS_WITHIN = 180  # [s]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, python, folder):
        self.command = [str(python), "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
                        "--artifacts-destination", f"{folder}/artifacts", "--host", "127.0.0.1", "--port", str(free_port()),
                        "--workers", "1"]
        self.uri = f"http://127.0.0.1:{self.command[self.command.index('--port') + 1]}"
        self.log = open(folder / "server.log", "ab")
        self.folder, self.process = folder, None

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log, cwd=self.folder,
                                        start_new_session=True,
                                        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
        end = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                urllib.request.urlopen(self.uri + "/health", timeout=5).read()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise AssertionError((self.folder / "server.log").read_text()[-2000:])
                time.sleep(0.2)

    def kill(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ask(self, endpoint, body=None, **query):
        url = f"{self.uri}/api/2.0/mlflow/{endpoint}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        return json.loads(urllib.request.urlopen(request, timeout=60).read())


class RealMlflow(RunCase):
    @classmethod
    def setUpClass(cls):
        python = venvs.python_with("mlflow")
        super().setUpClass()
        folder = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.server = Server(python, folder)
        cls.addClassCleanup(cls.server.kill)
        cls.server.start()

    def setUp(self):
        super().setUp()
        self.out = self.folder / "run"

    def tracked(self, *more):
        return ("--set", f"tracking.mlflow.uri={self.server.uri}", "--set", f"tracking.mlflow.experiment={self.id()}",
                "--set", "tracking.mlflow.exit_wait=60", *more)

    def there(self):
        """The one run of this test's experiment, with the whole history of each of its metrics."""
        experiment = self.server.ask("experiments/get-by-name", experiment_name=self.id())["experiment"]
        runs = self.server.ask("runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
        self.assertEqual(len(runs), 1)
        run = runs[0]
        history = {}
        for metric in run["data"].get("metrics", ()):
            points = self.server.ask("metrics/get-history", run_id=run["info"]["run_id"], metric_key=metric["key"],
                                     max_results=20000)["metrics"]
            history[metric["key"]] = sorted((int(p["step"]), int(p["timestamp"]), p["value"]) for p in points)
        return run, history

    def assert_arrived(self, history):
        expected = {}
        for name, time_ms, step, value in mlflow_metrics(self.out):
            expected.setdefault(name, []).append((step, time_ms, value))
        self.assertEqual(history, {key: sorted(points) for key, points in expected.items()})

    def test_a_run_is_there_with_every_figure_params_tags_status_and_artifacts(self):
        result = self.train_small(self.out, *self.tracked("--set", "tracking.mlflow.artifacts=best"))
        self.assertEqual(result.code, 0, result)
        self.assertNotIn("warning", result.err)
        self.assert_same_end(self.out, self.run_folder)
        run, history = self.there()
        self.assert_arrived(history)
        self.assertEqual(run["info"]["status"], "FINISHED")
        self.assertEqual(run["info"]["run_name"], "run")
        self.assertGreaterEqual(int(run["info"]["end_time"]), int(run["info"]["start_time"]))
        self.assertEqual({param["key"]: param["value"] for param in run["data"]["params"]}, mlflow_params(self.out))
        tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
        self.assertEqual(float(tags["makemoe.best_val_loss"]),
                         json.loads((self.out / "run.json").read_text())["best_val_loss"])
        artifacts = f"{self.server.uri}/api/2.0/mlflow-artifacts/artifacts"
        root = urllib.parse.urlparse(run["info"]["artifact_uri"]).path
        best = (self.out / "checkpoints" / "best").read_text().strip()
        for name in ("config.json", f"checkpoints/{best}/model.safetensors"):
            with urllib.request.urlopen(f"{artifacts}{root}/{name}", timeout=60) as answer:
                self.assertEqual(answer.read(), (self.out / name).read_bytes(), name)

    def test_the_server_killed_and_restarted_in_a_run_has_every_row_once(self):
        process = start("train", *self.small, *ENDLESS, *self.tracked(), "--out", self.out)
        state = self.out / "mlflow.json"

        def sent():
            try:
                return json.loads(state.read_text())["sent"]["step"]
            except (OSError, ValueError):
                return -1
        wait_for(lambda: sent() >= 50, process)
        self.server.kill()
        before = sent()
        wait_for(lambda: rows_of(self.out)[-1]["step"] >= before + 200, process)
        self.server.start()
        wait_for(lambda: sent() >= before + 200, process, seconds=150)
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=120)[1]
        self.assertEqual(process.returncode, 128 + signal.SIGTERM, error)
        run, history = self.there()
        self.assert_arrived(history)
        self.assertEqual(run["info"]["status"], "KILLED")
        assert_as_without_tracking(self, self.out)

    def test_a_pushed_run_that_is_pushed_again_without_its_notes_is_there_once(self):
        shutil.copytree(self.run_folder, self.out)
        for _ in range(2):
            result = makemoe("track", "push", self.out, *self.tracked(), "--json")
            self.assertEqual(result.code, 0, result)
            rows = strict_json(result.out)["runs"][0]["rows"]
            self.assertEqual(rows, len(rows_of(self.out)), "all of them were sent")
            (self.out / "mlflow.json").unlink()
        run, history = self.there()
        self.assert_arrived(history)
        self.assertEqual(run["info"]["status"], "FINISHED")


if __name__ == "__main__":
    venvs.main()
