"""Tools that tests ask, each in an environment of its own beside the binary: never the one that makemoe is built with."""

import pathlib
import subprocess
import sys
import unittest

from support import BINARY


def python_with(*packages):
    """The Python of an environment with these packages. Skips the test where pip can not install them."""
    folder = pathlib.Path(BINARY).resolve().parent / "venvs" / packages[0]
    python, done = folder / "bin" / "python", folder / ".installed"
    if done.exists():
        return python
    for command in ([sys.executable, "-m", "venv", "--clear", folder],
                    [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]):
        result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600)
        if result.returncode != 0:
            raise unittest.SkipTest(f"no environment with {packages[0]}: {result.stderr.strip()[-300:]}")
    done.touch()
    return python
