"""An MLflow server that fails in every way has what metrics.jsonl holds in the end, each row once, and training never
notices."""

import json
import shutil
import signal
import subprocess
import unittest

import fake_mlflow
from fake_mlflow import FakeMlflow
from support import BINARY, RESOURCES, USAGE, RunCase, makemoe, start, strict_json, wait_for
from tracked import ENDLESS, assert_as_without_tracking, mlflow_metrics, mlflow_params, rows_of, started


class Mlflow(RunCase):
    def setUp(self):
        super().setUp()
        self.server = FakeMlflow()
        self.addCleanup(self.server.stop)
        self.out = self.folder / "run"

    def tracked(self, *more, wait=20):
        return ("--set", f"tracking.mlflow.uri={self.server.uri}", "--set", f"tracking.mlflow.exit_wait={wait}", *more)

    def train(self, *more, wait=20, **options):
        return self.train_small(self.out, *self.tracked(*more, wait=wait), **options)

    def push(self, *runs, **options):
        result = makemoe("track", "push", *(runs or (self.out,)), "--json", **options)
        self.assertEqual(result.code, 0, result)
        return strict_json(result.out)["runs"]

    def there(self):
        self.assertEqual(len(self.server.runs), 1, "one run, whatever happened")
        return next(iter(self.server.runs.values()))

    def assert_arrived(self, repeated=False):
        """Every number of metrics.jsonl once, and nothing else. repeated: steps were made again after their rows had
        been sent, whose times and rates are those of the first making."""
        expected, arrived = mlflow_metrics(self.out), self.there().metrics
        if repeated:
            expected, arrived = ([(name, step, name != "tokens_per_second" and value) for name, _, step, value in metrics]
                                 for metrics in (expected, arrived))
        self.assertEqual(sorted(arrived), sorted(expected))

    def assert_nothing_noticed(self, result):
        """The run ended as one without tracking does, with the same bytes."""
        self.assert_clean(result)
        self.assertEqual(result.code, 0, result)
        self.assert_same_end(self.out, self.run_folder)

    def test_rows_params_tags_status_and_config_arrive(self):
        result = self.train("--set", "tracking.mlflow.experiment=letters & more", "--set", "tracking.mlflow.run_name=a b",
                            env={"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret"})
        self.assert_nothing_noticed(result)
        self.assertNotIn("warning", result.err)
        self.assert_arrived()
        run = self.there()
        self.assertEqual((run.name, run.status), ("a b", "FINISHED"))
        self.assertEqual(list(self.server.experiments), ["letters & more"])
        self.assertEqual(run.params, mlflow_params(self.out))
        self.assertEqual(run.artifacts,
                         {name: (self.out / name).read_bytes() for name in ("config.json", "report.html")})
        self.assertEqual(run.start_time, started(self.out) * 1000)
        self.assertGreaterEqual(run.end_time, run.start_time)
        best = json.loads((self.out / "run.json").read_text())["best_val_loss"]
        self.assertEqual(float(run.tags["makemoe.best_val_loss"]), best)

    def test_the_login_comes_from_the_environment_and_stays_there(self):
        logins = []
        self.server.weather = lambda handler: logins.append(handler.login())
        for env, login in (({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "s3cret"}, "me:s3cret"),
                           ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_TOKEN": "t0ken"}, "t0ken"),
                           ({"MLFLOW_TRACKING_URI": self.server.uri.replace("://", "://me:in%3Auri@")}, "me:in:uri")):
            with self.subTest(login):
                run = self.folder / str(len(list(self.folder.iterdir())))
                set_uri = () if "MLFLOW_TRACKING_URI" in env else self.tracked()
                result = self.train_small(run, *set_uri, env=env)
                self.assertEqual(result.code, 0, result)
                self.assertEqual(set(logins), {login})
                logins.clear()
                for path in run.rglob("*"):
                    for secret in (b"s3cret", b"t0ken", b"in:uri", b"in%3Auri"):
                        self.assertFalse(path.is_file() and secret in path.read_bytes(), path)
                self.assertNotIn("secret", result.err)

    @unittest.skipUnless(shutil.which("openssl"), "openssl, which makes the certificate, is not installed")
    def test_https_is_taken_from_a_server_with_a_trusted_certificate_only(self):
        files = [str(self.folder / name) for name in ("cert.pem", "key.pem")]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
                       check=True, capture_output=True, timeout=60)
        self.server = FakeMlflow(tls=files)
        self.addCleanup(self.server.stop)
        result = self.train()
        self.assert_nothing_noticed(result)
        self.assertIn("its certificate is not trusted", result.err)
        self.assertEqual(self.server.requests, [])
        self.push(env={"MLFLOW_TRACKING_SERVER_CERT_PATH": files[0]})
        self.assert_arrived()
        self.push(env={"MLFLOW_TRACKING_INSECURE_TLS": "true"})

    def test_the_best_checkpoint_arrives_on_request(self):
        self.assert_nothing_noticed(self.train("--set", "tracking.mlflow.artifacts=best"))
        sent = self.there().artifacts
        folder = self.out / "checkpoints" / (self.out / "checkpoints" / "best").read_text().strip()
        for file in folder.iterdir():
            self.assertEqual(sent[f"checkpoints/{folder.name}/{file.name}"], file.read_bytes(), file)

    def bad_weather(self, weather, says):
        self.server.weather = weather
        result = self.train()
        self.assert_nothing_noticed(result)
        self.assertIn(says, result.err)
        rows = len(rows_of(self.out))
        self.assertIn(f"mlflow: {rows} rows did not reach {self.server.uri}; the run folder keeps them, send with: "
                      f"{BINARY} track push {self.out}", result.err)
        self.assertEqual(result.err.count("warning: "), 2, "one when it began, one of what is left")
        self.server.weather = lambda handler: False
        self.assertEqual(self.push()[0]["rows"], rows)
        self.assert_arrived()
        self.assertEqual(self.there().status, "FINISHED")
        self.assertEqual(self.push()[0]["rows"], 0)
        self.assert_arrived()

    def test_refused_logins_cost_nothing(self):
        says = "the login was refused (401); set MLFLOW_TRACKING_USERNAME"
        self.bad_weather(fake_mlflow.refuse_login, says)
        self.server.weather = fake_mlflow.refuse_login
        self.assert_refused(makemoe("track", "push", self.out), RESOURCES, says)

    def test_a_server_with_errors_costs_nothing(self):
        self.bad_weather(fake_mlflow.error_500, "answered 500 (<html>oops</html>)")

    def test_a_server_that_is_something_else_costs_nothing(self):
        self.bad_weather(fake_mlflow.login_page, "answered something else than MLflow does")

    def test_a_server_that_cuts_every_connection_costs_nothing(self):
        self.bad_weather(fake_mlflow.reset, "no answer, or not in time")

    def test_a_server_that_answers_without_end_costs_nothing(self):
        self.bad_weather(fake_mlflow.endless, "the answer was too long")

    def test_a_server_that_is_slow_costs_nothing(self):
        self.server.weather = fake_mlflow.hang
        result = self.train(wait=0.2)
        self.assert_nothing_noticed(result)
        self.assertIn(f"{len(rows_of(self.out))} rows did not reach", result.err)
        self.server.weather = lambda handler: False
        self.push()
        self.assert_arrived()

    def test_a_server_that_is_not_there_costs_nothing(self):
        self.server.stop()
        result = self.train(wait=60)
        self.assert_nothing_noticed(result)
        self.assertIn("no connection", result.err)
        self.server.start()
        self.push()
        self.assert_arrived()

    def test_lost_answers_double_nothing(self):
        """Each request is done, and of each kind the first answer lost: of the run's making, its rows, its end."""
        kinds = set()

        def first_of_its_kind(handler):
            kind = (handler.path.partition("?")[0], b'"metrics"' in handler.body)
            return kind not in kinds and not kinds.add(kind)
        self.server.after = first_of_its_kind
        self.train(wait=5)
        for _ in range(20):
            if makemoe("track", "push", self.out, env={"MLFLOW_TRACKING_URI": self.server.uri}).code == 0:
                break
        self.assert_arrived()
        self.assertGreater(self.there().received, len(self.there().metrics), "some came twice, and are there once")
        self.assertGreater(len(kinds), 6)
        self.assertEqual(self.there().status, "FINISHED")

    def endless(self, *more):
        return start("train", *self.small, *ENDLESS, *self.tracked(*more), "--out", self.out)

    def arrived(self, step):
        """Whether rows up to a step are on the server."""
        return lambda: any(metric[2] >= step for run in self.server.runs.values() for metric in list(run.metrics))

    def trained(self, step):
        def condition():
            lines = (self.out / "metrics.jsonl").read_text().splitlines() if (self.out / "metrics.jsonl").exists() else []
            return len(lines) > 1 and json.loads(lines[-2])["step"] >= step
        return condition

    def last_step(self):
        return max(metric[2] for run in self.server.runs.values() for metric in list(run.metrics))

    def test_a_server_killed_and_restarted_in_a_run_gets_every_row_once(self):
        process = self.endless()
        wait_for(self.arrived(50), process)
        self.server.stop()
        seen = self.last_step()
        wait_for(self.trained(seen + 500), process)
        self.server.start()
        wait_for(self.arrived(seen + 500), process)
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 128 + signal.SIGTERM, error)
        self.assert_arrived()
        self.assertEqual(self.there().status, "KILLED")
        assert_as_without_tracking(self, self.out)

    def test_a_run_that_was_killed_and_goes_on_is_one_run_there_with_no_step_twice(self):
        process = self.endless()
        wait_for(self.arrived(600), process)  # there is a checkpoint at 500
        process.kill()
        process.communicate()
        end = ["--set", f"train.max_iters={self.last_step() + 100 - self.last_step() % 100}"]
        result = makemoe("train", "--resume", "--out", self.out, "--config", self.out / "config.json", *end)
        self.assertEqual(result.code, 0, result)
        self.assert_arrived(repeated=True)
        self.assertEqual(self.there().status, "FINISHED")

    def test_a_run_that_was_killed_can_be_pushed_and_still_go_on(self):
        process = start("train", *self.small, *ENDLESS, "--out", self.out)
        wait_for(self.trained(600), process)
        self.assert_refused(makemoe("track", "push", self.out, env={"MLFLOW_TRACKING_URI": self.server.uri}), RESOURCES,
                            "in use by pid")
        process.kill()
        process.communicate()
        self.push(env={"MLFLOW_TRACKING_URI": self.server.uri})
        self.assert_arrived()
        self.assertEqual(self.there().status, "FAILED")
        result = makemoe("train", "--resume", "--out", self.out, *self.tracked(), "--set",
                         f"train.max_iters={self.last_step() + 100 - self.last_step() % 100}")
        self.assertEqual(result.code, 0, result)
        self.assert_arrived(repeated=True)
        self.assertEqual(self.there().status, "FINISHED")

    def test_runs_of_an_offline_cluster_are_pushed_once(self):
        env = {"MLFLOW_TRACKING_URI": self.server.uri}
        runs = [self.folder / name for name in ("a", "b")]
        for run in runs:
            shutil.copytree(self.run_folder, run)
        first = self.push(*runs, env=env)
        rows = len(rows_of(self.run_folder))
        self.assertEqual([entry["rows"] for entry in first], [rows, rows])
        self.assertEqual(len(self.server.runs), 2)
        self.assertEqual([entry["rows"] for entry in self.push(*runs, env=env)], [0, 0])
        self.assertEqual(sum(run.received for run in self.server.runs.values()),
                         2 * len(mlflow_metrics(self.run_folder)))
        self.assertEqual(sorted(run.name for run in self.server.runs.values()), ["a", "b"])
        self.assertEqual(first[0]["url"], f"{self.server.uri}/#/experiments/0/runs/{first[0]['run_id']}")

    def test_a_run_found_again_keeps_the_params_that_it_began_with_and_gets_its_rows(self):
        self.train()
        first = self.there().params["train.max_iters"]
        says = "mlflow: the run there keeps the params that it began with, since MLflow does not let them change: train.max_iters"
        (self.out / "mlflow.json").unlink()
        longer = makemoe("train", "--resume", "--out", self.out, "--set", f"train.max_iters={int(first) + 4}")
        self.assertEqual(longer.code, 0, longer)
        self.assertEqual(longer.err.count("warning: "), 1, longer)
        self.assertIn(says, longer.err)
        del self.there().params["seed"]  # as if the first session had been cut off between two batches
        (self.out / "mlflow.json").unlink()
        pushed = makemoe("track", "push", self.out)
        self.assertEqual(pushed.code, 0, pushed)
        self.assertIn(says, pushed.err)
        self.assert_arrived()
        self.assertEqual(self.there().params, {**mlflow_params(self.out), "train.max_iters": first})

    def test_a_push_that_makes_no_sense_is_refused(self):
        shutil.copytree(self.run_folder, self.out)
        (self.folder / "empty").mkdir()
        env = {"MLFLOW_TRACKING_URI": self.server.uri}
        none = {"MLFLOW_TRACKING_URI": ""}
        cases = {"no server": (USAGE, f"{self.out}: its tracking.mlflow.uri names no MLflow server; give --set", none, (self.out,)),
                 "a file store": (USAGE, 'MLFLOW_TRACKING_URI: "sqlite:///a" is no address', {"MLFLOW_TRACKING_URI": "sqlite:///a"}, (self.out,)),
                 "no run": (RESOURCES, "empty: is not a run folder", env, (self.folder / "empty",)),
                 "nothing": (RESOURCES, "gone: is not a run folder", env, (self.folder / "gone",)),
                 "another key": (USAGE, "only keys under tracking.", env, (self.out, "--set", "seed=1")),
                 "no run named": (USAGE, "run is required", env, ())}
        for name, (code, says, environment, arguments) in cases.items():
            with self.subTest(name):
                self.assert_refused(makemoe("track", "push", *arguments, env=environment), code, says)
        self.assertEqual(list((self.folder / "empty").iterdir()), [])
        mixed = makemoe("track", "push", self.folder / "gone", self.out, env=env)
        self.assertEqual(mixed.code, RESOURCES)
        self.assertIn(f"{self.out}: ", mixed.out, "the other one was sent")

    def test_an_environment_that_names_no_server_costs_nothing(self):
        result = self.train_small(self.out, env={"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})
        self.assert_nothing_noticed(result)
        self.assertIn('MLFLOW_TRACKING_URI: "sqlite:///mlflow.db" is no address', result.err)
        quiet = self.train_small(self.folder / "quiet", "--set", "tracking.mlflow.uri=none",
                                 env={"MLFLOW_TRACKING_URI": self.server.uri})
        self.assertEqual((quiet.code, self.server.requests), (0, []))

    def test_a_disk_that_is_full_at_any_moment_costs_no_run_and_what_is_kept_arrives_once(self):
        for fault in [f"ENOSPC@{n}{sticky}" for n in range(2, 40, 9) for sticky in ("", "+")]:
            with self.subTest(fault):
                self.server.runs.clear()
                self.out = self.folder / fault
                result = self.train(env={"MAKEMOE_TEST_FAULT": fault})
                self.assert_clean(result)
                if not (self.out / "config.json").exists():
                    continue  # the run could not begin, as without tracking
                if result.code != 0:
                    self.assertEqual(result.code, RESOURCES, result)
                    again = makemoe("train", "--resume", "--out", self.out, *self.small)
                    self.assertEqual(again.code, 0, again)
                self.push(env={"MLFLOW_TRACKING_URI": self.server.uri})
                self.assert_same_end(self.out, self.run_folder)
                self.assert_arrived(repeated=True)


if __name__ == "__main__":
    unittest.main()
