"""What the tests of tracking share: what a run folder says, for others to be held against."""

import datetime
import json
import math

from support import makemoe, strict_json

# A run that goes on until it is stopped.
ENDLESS = ("--set", "train.max_iters=100000000", "--set", "train.eval_interval=1000", "--set", "train.log_interval=50",
           "--set", "train.checkpoint_interval=500")


def rows_of(run):
    return [strict_json(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def started(run):
    """[s since 1970]"""
    text = json.loads((run / "run.json").read_text())["start"].replace("Z", "+00:00")
    return datetime.datetime.fromisoformat(text).timestamp()


def measured(row):
    """The values of a row: {name: number or list}."""
    return {key: value for key, value in row.items() if key not in ("step", "time_s", "tokens")}


def mlflow_metrics(run):
    """What an MLflow server should have of metrics.jsonl: (name, time since 1970 [ms], step, value)."""
    metrics = []
    for row in rows_of(run):
        time_ms = int(started(run)) * 1000 + math.floor(row["time_s"] * 1000 + 0.5)
        for key, value in measured(row).items():
            numbers = {f"{key}/{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {key: value}
            metrics += [(name, time_ms, row["step"], number) for name, number in numbers.items()]
    return metrics


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def hyperparameters(run):
    config = json.loads((run / "config.json").read_text())
    config.pop("tracking")
    return dict(leaves(config))


def mlflow_params(run):
    return {key: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            for key, value in hyperparameters(run).items()}


def assert_as_without_tracking(case, run):
    """An ENDLESS run that was stopped: the weights, moments and losses of one that no sink follows."""
    step = json.loads((run / "run.json").read_text())["step"]
    plain = case.folder / "plain"
    result = makemoe("train", *case.small, *ENDLESS, "--set", "tracking.mlflow.uri=none", "--out", plain, "--stop-after", step)
    case.assertEqual(result.code, 0, result)
    case.assert_same_bytes(run, plain, step)
