"""What the end-to-end tests share: the binary, small runs, sealed checkpoints, and what no answer may hold."""

import hashlib
import json
import os
import pathlib
import pty
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import typing
import unittest
from concurrent.futures import ThreadPoolExecutor

BINARY = os.environ["MAKEMOE_BIN"]
SOURCE = pathlib.Path(os.environ["MAKEMOE_SOURCE_DIR"])
TEXT = SOURCE / "data" / "the-lantern-keepers.txt"
TINY = SOURCE / "configs" / "tiny.json"

WORKERS = 2  # processes at once; each has one thread
TIMEOUT = 120  # [s] a command that takes longer hangs
STEPS = 3  # of the small run

# What a person can do nothing with: text of libraries and traces.
RAW = ("Exception raised from", "frame #", "terminate called", "[json.exception", "c10::", "std::",
       "Backtrace", "backtrace", "what():", "Segmentation", "this is a bug", "libgomp")

BUG, USAGE, DATA, CHECKPOINT, NUMERICS, RESOURCES = 1, 2, 3, 4, 5, 6

CHECKPOINT_FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "config.json", "tokenizer.json")


refused = set()  # (class of tests, label) of each bad input that ended as it should


class Result(typing.NamedTuple):
    code: int  # below 0: died of that signal
    out: str
    err: str


def environment(changes):
    return {**os.environ, "OMP_WAIT_POLICY": "passive", **(changes or {})}


def arguments_of(arguments):
    return [BINARY, *(a if isinstance(a, bytes) else str(a) for a in arguments)]


def makemoe(*arguments, env=None, timeout=TIMEOUT, stdin=subprocess.DEVNULL, **options):
    done = subprocess.run(arguments_of(arguments), env=environment(env), timeout=timeout,
                          stdin=None if "input" in options else stdin,
                          **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})
    return Result(done.returncode, *((stream or b"").decode(errors="replace") for stream in (done.stdout, done.stderr)))


def start(*arguments, env=None, within=(), **options):
    """A process of its own, to be sent signals; `within`: a command that becomes it."""
    return subprocess.Popen([*within, *arguments_of(arguments)], env=environment(env),
                            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options})


def together(function, items):
    """function of every item, WORKERS at a time, in the order of the items."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(function, items))


def limited(**limits):
    """For preexec_fn: limited(FSIZE=1000) sets RLIMIT_FSIZE in the child."""
    def apply():
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    return apply


def wait_for(condition, process, seconds=60):
    """Until condition() holds; fails when the process ends before that."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"ended too early with {process.returncode}: {process.stderr.read()}")
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.01)


def catches_signals(pid):
    """Whether the process catches SIGTERM: before that, any program dies of it."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return False
    return any(int(line.split()[1], 16) & 1 << (signal.SIGTERM - 1) for line in lines if line.startswith("SigCgt"))


def wait_for_handlers(process):
    wait_for(lambda: catches_signals(process.pid), process)


def strict_json(text):
    """Refuses NaN and Infinity, which Python's reader would let through."""
    def refuse(name):
        raise ValueError(f"{name} is no JSON")
    return json.loads(text, parse_constant=refuse)


def temporaries(folder):
    return [p for p in pathlib.Path(folder).rglob(".tmp-*")]


def tree(folder):
    """Every path below, with the sha256 of its bytes; locks and logs may come and change."""
    def content(path):
        if path.is_symlink() or not path.is_file():
            return "-"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.stat().st_size < 1 << 26 else path.stat().st_size
    return {str(p.relative_to(folder)): content(p) for p in sorted(pathlib.Path(folder).rglob("*"))
            if p.name not in (".lock", "log.txt")}


def seal(manifest):
    """The manifest's text with its own checksum, as src/checkpoint/manifest.cpp writes it."""
    manifest = {key: value for key, value in manifest.items() if key != "checksum"}
    body = json.dumps(manifest, separators=(",", ":"), ensure_ascii=False)
    manifest["checksum"] = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"


def reseal(checkpoint, change=lambda manifest: None):
    """Makes the manifest fit files that were changed, then lets `change` have it."""
    path = checkpoint / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, entry in manifest["files"].items():
        content = (checkpoint / name).read_bytes()
        entry["size"], entry["sha256"] = len(content), hashlib.sha256(content).hexdigest()
    path.write_text(seal(change(manifest) or manifest))


def read_safetensors(content):
    """(header, data) of a sound file."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def safetensors(header, data=b"", length=None):
    """A file from a header, a dict or raw bytes; `length` is what its first 8 bytes say."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


class Case(unittest.TestCase):
    """A folder for each test, and a small text for all of them."""

    @classmethod
    def setUpClass(cls):
        cls.home = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        cls.home.chmod(0o755)
        cls.text = cls.home / "text"
        cls.text.write_text(TEXT.read_text()[:1500])
        cls.text.chmod(0o644)  # tests that give up being root read it, whatever the umask
        # One layer, 3 steps, an evaluation and a checkpoint at each: less than half a second.
        cls.small = ("--config", TINY, "--data", cls.text, "--set", "threads=1", "--set", "model.n_layer=1",
                     "--set", "train.batch_size=2", "--set", f"train.max_iters={STEPS}", "--set",
                     "train.eval_interval=1", "--set", "train.log_interval=1")

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)

    @classmethod
    def train_small(cls, out, *arguments, **options):
        return makemoe("train", *cls.small, "--out", out, *arguments, **options)

    def done(self, *arguments, **options):
        result = makemoe(*arguments, **options)
        self.assertEqual(result.code, 0, result)
        return result

    def assert_clean(self, result):
        """No crash, and nothing raw."""
        for text in (result.out, result.err):
            for raw in RAW:
                self.assertNotIn(raw, text)
        self.assertGreaterEqual(result.code, 0, result)

    def assert_refused(self, result, code, says=()):
        """One clear error with the code (or one of several), and no result."""
        codes = code if isinstance(code, tuple) else (code,)
        self.assert_clean(result)
        self.assertIn(result.code, codes, result)
        self.assertEqual(result.out, "")
        for phrase in says if isinstance(says, tuple) else (says,):
            self.assertIn(str(phrase), result.err)
        if result.code != BUG:  # where: what; what to do
            where, colon, rest = result.err.partition("error: ")[2].partition(": ")
            self.assertTrue(where and colon and "; " in rest, result.err[:2000])

    def refuse_all(self, code, cases, **options):
        """cases: {label: (arguments, phrases)}. Refuses each, and leaves every file as it was."""
        before = tree(self.folder)
        results = together(lambda case: makemoe(*case[0], **options), cases.values())
        for (label, (_, says)), result in zip(cases.items(), results):
            with self.subTest(label):
                self.assert_refused(result, code, says)
                refused.add((type(self).__name__, label))
        self.assertEqual(tree(self.folder), before)


class RunCase(Case):
    """With one small run, self.run_folder, that nobody changes; its last checkpoint is the best."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.home / "run"
        result = cls.train_small(cls.run_folder)
        if result.code != 0:
            raise AssertionError(result)
        cls.last = cls.run_folder / "checkpoints" / f"step-{STEPS:08d}"

    def copy_of_run(self, name="copy"):
        """A copy with its last checkpoint alone; returns the run and that checkpoint."""
        run = self.folder / name
        shutil.copytree(self.run_folder, run)
        for checkpoint in (run / "checkpoints").glob("step-*"):
            if checkpoint.name != self.last.name:
                shutil.rmtree(checkpoint)
        return run, run / "checkpoints" / self.last.name

    def copy_of_checkpoint(self, name):
        folder = self.folder / str(name)
        shutil.copytree(self.last, folder)
        return folder

    def assert_same_bytes(self, a, b, step, rows="same"):
        """Weights and moments at `step` byte for byte; metrics apart from times. rows="some": a may lack some."""
        for name in ("model.safetensors", "optimizer.safetensors"):
            ours, theirs = ((run / "checkpoints" / f"step-{step:08d}" / name).read_bytes() for run in (a, b))
            self.assertTrue(ours == theirs, f"{a}: {name} differs")
        ours, theirs = (self.timeless_rows(run) for run in (a, b))
        self.assertEqual(ours, theirs if rows == "same" else [row for row in theirs if row in ours])

    def assert_same_end(self, a, b, rows="same"):
        """assert_same_bytes of two small runs, and the state apart from times."""
        self.assert_same_bytes(a, b, STEPS, rows)
        states = [strict_json((run / "checkpoints" / self.last.name / "state.json").read_text()) for run in (a, b)]
        for state in states:
            state.pop("times")
        self.assertEqual(*states)

    @staticmethod
    def timeless_rows(run):
        rows = [strict_json(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in row.items() if k not in ("time_s", "tokens_per_second")} for row in rows]


def at_terminal(*arguments, env=None, press=None, after=b""):
    """(exit code, all that the screen was sent); `press` is typed once `after` was seen."""
    child, screen = pty.fork()
    if child == 0:
        os.execve(BINARY, arguments_of(arguments), environment(env))
    seen, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        if press and after in seen and catches_signals(child):
            os.write(screen, press)
            press = None
        if select.select([screen], [], [], 0.1)[0]:
            try:
                seen += os.read(screen, 1 << 16)
            except OSError:  # the program has ended
                break
    _, status = os.waitpid(child, 0)
    os.close(screen)
    return os.waitstatus_to_exitcode(status), seen.decode()


def main(at_least):
    """All tests of a file; then how many distinct bad inputs it saw refused, which must be `at_least`."""
    program = unittest.main(exit=False)
    print(f"{len(refused)} distinct bad inputs, none ended in a signal, raw text or files left behind: at least {at_least}")
    partial = len(sys.argv) > 1  # some tests were named
    sys.exit(not program.result.wasSuccessful() or (not partial and len(refused) < at_least))
