"""Tools that tests ask, each in an environment of its own beside the binary: never the one that makemoe is built with."""

import pathlib
import subprocess
import sys
import sysconfig
import unittest

from support import BINARY

INSTALLS_WITHIN = 400  # [s]
SKIPPED = 77  # ctest reports such a test as skipped


def python_with(package):
    """The Python of an environment with this package. Skips the test where pip cannot install it."""
    folder = pathlib.Path(BINARY).resolve().parent / "venvs" / package
    python, done = folder / "bin" / "python", folder / ".installed"
    if done.exists():
        return python
    for command in ([sys.executable, "-m", "venv", "--clear", folder],
                    [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]):
        try:
            subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True, timeout=INSTALLS_WITHIN)
        except (subprocess.SubprocessError, OSError) as error:
            says = getattr(error, "stderr", None) or error
            raise unittest.SkipTest(f"no environment with {package}: {str(says).strip()[-300:]}")
    done.touch()
    return python


def python_beside_torch(package):
    """The same; it sees this Python's packages behind its own, torch among them."""
    python = python_with(package)
    for packages in (python.parent.parent / "lib").glob("python3*/site-packages"):
        (packages / "behind.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    seen = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True, check=False)
    if seen.returncode != 0:
        raise unittest.SkipTest(f"no torch for {package}: {seen.stderr.strip()[-300:]}")
    return python


def main():
    """The tests of a file; where all were skipped, so is the file, with the reasons."""
    result = unittest.main(exit=False).result
    for test, reason in result.skipped:
        print(f"skipped: {test}: {reason}")
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.skipped and result.testsRun <= len(result.skipped) else 0)
