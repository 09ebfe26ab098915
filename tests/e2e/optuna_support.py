"""Questions to Optuna, which has an environment of its own. Not a test."""

import json
import subprocess

from venvs import python_with

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


def read_study(journal, name):
    done = subprocess.run([python_with("optuna"), "-c", READ, journal, name], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)
