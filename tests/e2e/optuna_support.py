"""Optuna in a virtual environment of its own under build/, and questions to it. Not a test."""

import fcntl
import json
import os
import pathlib
import subprocess
import sys
import unittest

SOURCE = pathlib.Path(os.environ["MAKEMOE_SOURCE_DIR"])
FOLDER = SOURCE / "build" / "optuna-venv"
VERSION = "optuna>=4,<6"

READ = """
import json, sys, optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name=sys.argv[2], storage=JournalStorage(JournalFileBackend(sys.argv[1])))
print(json.dumps({"direction": study.direction.name, "trials": [
    {"number": t.number, "state": t.state.name, "value": t.value, "params": t.params,
     "reported": sorted(t.intermediate_values.items()), "user": t.user_attrs,
     "complete": t.datetime_complete is not None} for t in study.trials]}))
"""

# Reads the journal each time a line comes in: one process for many questions.
SERVE = """
import sys, optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
optuna.logging.set_verbosity(optuna.logging.ERROR)
for line in sys.stdin:
    study = optuna.load_study(study_name=sys.argv[2], storage=JournalStorage(JournalFileBackend(sys.argv[1])))
    states = [t.state.name for t in study.trials]
    print(len(states), sum(s in ("COMPLETE", "FAIL", "PRUNED") for s in states), flush=True)
"""


def optuna_python():
    """The environment's Python, made on the first call; skips the test where pip can not."""
    python = FOLDER / "bin" / "python"
    FOLDER.parent.mkdir(exist_ok=True)
    with open(FOLDER.parent / ".optuna-venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if python.exists() and subprocess.run([python, "-c", "import optuna"], stderr=subprocess.DEVNULL).returncode == 0:
            return python
        made = subprocess.run([sys.executable, "-m", "venv", FOLDER], capture_output=True, text=True)
        if made.returncode == 0:
            made = subprocess.run([python, "-m", "pip", "install", "--quiet", VERSION], capture_output=True, text=True)
        if made.returncode != 0:
            raise unittest.SkipTest(f"Optuna can not be installed: {(made.stderr or made.stdout).strip()[-300:]}")
    return python


def read_study(journal, name):
    done = subprocess.run([optuna_python(), "-c", READ, journal, name], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)
