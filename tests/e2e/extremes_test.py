"""Every number at its extremes: the smallest and largest accepted value of each key, flag and sweep field runs, or is refused in
one clear error; what lies just beyond is refused with its range. The lists come from the program itself (`config schema`, --help),
so that a new number is covered without an edit.

MAKEMOE_SOAK=SECONDS: pairs of keys at their extremes, drawn in a fixed order until the time is over, each under 8 GB and 120 s.
"""

import array
import itertools
import json
import math
import os
import pathlib
import random
import re
import subprocess
import time

from support import (DATA, NUMERICS, RESOURCES, TEXT, TIMEOUT, USAGE, Case, limited, main, makemoe, read_safetensors, start, strict_json,
                     together)

LIMIT = 8 << 30  # of address space: on a CPU the program with libtorch maps less than half a GB of its own
REFUSALS = (USAGE, DATA, NUMERICS, RESOURCES)
LARGEST = {"integer": 2**63 - 1}  # where there is no bound

# At these a run does what was asked for, and takes longer than a test should: 65,536 batches an update, 512 layers, the pairs of
# 1024 experts for each token, a hundred million tokens, and so many steps. The long form has those of keys.
SLOW = {("train.grad_accumulation", 65536), ("model.n_layer", 512), ("model.moe.top_k", 1024), ("generate --max-new-tokens", 100_000_000), ("bench --steps", 100_000)}

LISTS = {"optim.betas": 2, "model.moe.hash_layers": 1, "model.moe.dense_layers": 1, "model.ngram.orders": 1}  # keys that hold so many numbers

CONFIG = {"threads": 1, "device": "cpu", "model": {"n_embed": 16, "n_head": 2, "n_layer": 1, "block_size": 8, "dropout": 0.1,
          "moe": {"num_experts": 4, "top_k": 2}}, "train": {"max_iters": 20, "batch_size": 4, "eval_interval": 10, "log_interval": 5}}


def numbers_of(schema, path=""):
    """(key, type, smallest, largest) of every number of the tree; a list of numbers is one key."""
    for key, entry in schema.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        yield from numbers_of(entry, here)
        number = entry.get("items", entry)
        kind = next((t for t in ("integer", "number") if t in number.get("type", ())), None)
        if kind:
            low, high = number.get("minimum"), number.get("maximum", LARGEST.get(kind))
            yield (here, kind, *((int(low), int(high)) if kind == "integer" else (low, high)))


def beyond(kind, value, direction):
    return value + direction if kind == "integer" else math.nextafter(value, direction * math.inf)


def settings(pairs):
    return [part for key, value in pairs for part in ("--set", f"{key}={json.dumps([value] * LISTS[key] if key in LISTS else value)}")]


def all_finite(path):
    """Of a safetensors file: a sum is finite where every value is."""
    header, data = read_safetensors(path.read_bytes())
    spans = [entry["data_offsets"] for entry in header.values() if entry.get("dtype") == "F32"]
    return all(math.isfinite(sum(array.array("f", data[begin:end]))) for begin, end in spans)


class ExtremesCase(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.config = cls.home / "config.json"
        cls.config.write_text(json.dumps(CONFIG))
        cls.keys = list(numbers_of(json.loads(makemoe("config", "schema").out)))
        cls.count = itertools.count()

    def assert_refused_clearly(self, result, label):
        self.assert_clean(result)
        self.assertIn(result.code, REFUSALS, (label, result))
        where, colon, rest = result.err.partition("error: ")[2].partition(": ")
        self.assertTrue(where and colon and "; " in rest, (label, result.err[:2000]))

    def train(self, pairs, timeout=TIMEOUT):
        """None: it did not end in time."""
        out = self.folder / f"run-{next(self.count)}"
        try:
            result = makemoe("train", "--config", self.config, "--data", self.text, "--out", out, "--stop-after", 1, "--json",
                             *settings(pairs), preexec_fn=limited(AS=LIMIT), timeout=timeout)
        except subprocess.TimeoutExpired:
            return None
        if result.code != 0:
            self.assert_refused_clearly(result, pairs)
            return result
        self.assert_clean(result)
        self.assertTrue(math.isfinite(strict_json(result.out)["val_loss"]), pairs)
        for file in out.glob("checkpoints/step-00000001/*.safetensors"):
            self.assertTrue(all_finite(file), (pairs, file.name))
        return result


class Keys(ExtremesCase):
    def test_every_key_has_a_range_and_what_lies_beyond_it_is_refused_with_that_range(self):
        self.assertGreater(len(self.keys), 20)
        for direction, index in ((-1, 2), (1, 3)):
            self.assertNotIn(None, [key[index] for key in self.keys])
            pairs = [(key[0], beyond(key[1], key[index], direction)) for key in self.keys]
            result = makemoe("config", "show", *settings(pairs))
            self.assert_refused(result, USAGE)
            for key, value in pairs:
                line = next(line for line in result.err.splitlines() if re.match(rf"(error: )?{re.escape(key)}(\[0\])?: ", line))
                says = "does not fit" if value == 2**63 else "is out of range; give "
                self.assertIn(says, line)

    def test_each_key_at_its_smallest_and_its_largest_runs_or_is_refused_clearly(self):
        groups = []
        for index in (2, 3):
            ends = [(key[0], key[index]) for key in self.keys if (key[0], key[index]) not in SLOW]
            groups += [ends[i:i + 5] for i in range(0, len(ends), 5)]
        refused = [pair for found in together(self.refused_among, groups) for pair in found]
        # Alone with this text and width; most else runs, and above all what is small.
        self.assertLess(len(refused), 22, refused)
        self.assertEqual([pair for pair in refused if pair[0].startswith(("optim.", "train.max_iters", "train.log_interval", "seed"))],
                         [("optim.schedule.warmup_iters", 10**12)])  # with it, train.max_iters has to be as large

    def refused_among(self, pairs):
        """Those that do not run; together first, since what runs together needs no runs of its own."""
        result = self.train(pairs)
        self.assertIsNotNone(result, f"does not end: {pairs}")
        if result.code == 0:
            return []
        if len(pairs) == 1:
            return pairs
        half = len(pairs) // 2
        return self.refused_among(pairs[:half]) + self.refused_among(pairs[half:])

    def test_what_was_nonsense_in_float_is_refused_by_its_name(self):
        nonsense = {"optim.learning_rate": (1e39, 1e-320), "optim.eps": (1e-50, 1e30), "optim.betas": (0.99999999, 1 - 2**-53),
                    "model.dropout": (0.9999999999999999,), "optim.weight_decay": (1e308,), "optim.grad_clip": (5e-324, 1e308),
                    "model.moe.capacity_factor": (1e308, 1e-300), "data.train_fraction": (1e-18, 1 - 2**-53),
                    "eval.eval_iters": (2**61, 2**63 - 1), "train.max_iters": (2**63 - 1,)}
        for place in (0, -1):
            pairs = [(key, values[place]) for key, values in nonsense.items()]
            result = makemoe("config", "show", *settings(pairs))
            self.assert_refused(result, USAGE, tuple(f"{key}{'[0]' if key == 'optim.betas' else ''}: " for key in nonsense))

    def test_more_threads_than_can_be_started_are_refused(self):
        result = makemoe("train", *self.small, "--set", "threads=4096", "--out", self.folder / "run",
                         preexec_fn=limited(AS=1 << 30))
        self.assert_refused(result, RESOURCES, ("of 4096", "lower threads"))


class SweepFields(ExtremesCase):
    FIELD = re.compile(r"^([a-z_.]+) +(integer|number)(?: or null)? .*\((?:from (\S+) to (\S+)|at least (\S+))\)$", re.M)

    def fields(self):
        for key, kind, low, high, least in self.FIELD.findall(makemoe("sweep", "run", "--help").out):
            number = (lambda text: int(float(text))) if kind == "integer" else float
            yield key, kind, number(low or least), number(high) if high else LARGEST[kind]

    def sweep(self, name, values):
        tables = {"base": str(self.config), "set": {"data.path": str(self.text), "train.max_iters": 1},
                  "space": {"optim.learning_rate": {"choices": [0.001]}}, "strategy": {"kind": "random"}}
        for key, value in values.items():
            *table, last = key.split(".")
            (tables.setdefault(table[0], {}) if table else tables)[last] = value
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(tables))
        return makemoe("sweep", "run", path, "--out", self.folder / name, preexec_fn=limited(AS=LIMIT))

    def test_every_field_at_its_smallest_and_at_its_largest_makes_a_sweep_that_ends(self):
        fields = list(self.fields())
        self.assertGreater(len(fields), 12)
        self.assertEqual(self.sweep("smallest", {key: low for key, _, low, _ in fields}).code, 0)
        largest = {key: high for key, _, _, high in fields}
        # A thousand seeds are a thousand trials; a longest trial is train.max_iters, which Keys looks at.
        largest |= {"seeds": 1, "budget.steps": 1}
        self.assertEqual(self.sweep("largest", largest).code, 0)
        self.assertEqual(self.sweep("seeds", {"seeds": 1000, "budget.trials": 1}).code, 0)

    def test_what_lies_beyond_a_fields_range_is_refused_with_that_range(self):
        for direction, index in ((-1, 2), (1, 3)):
            fields = [field for field in self.fields() if field[index] != 2**63 - 1]
            result = self.sweep("beyond", {field[0]: beyond(field[1], field[index], direction) for field in fields})
            self.assert_refused(result, USAGE, tuple(f"{field[0]}: " for field in fields))
            self.assertEqual(result.err.count("is out of range; give "), len(fields), result.err)

    def test_a_space_at_its_extremes_ends(self):
        floats = [key for key, kind, low, high in self.keys
                  if kind == "number" and key.startswith("optim.") and key not in LISTS and low <= 1e-4 and high >= 0.5]
        wholes = [key for key, _, _, high in self.keys
                  if high == 10**12 and key not in ("train.max_iters", "optim.schedule.warmup_iters", "eval.stride")]
        spaces = {
            "choices": {key: {"choices": list(range(2, 1002))} for key in wholes}
                       | {key: {"choices": [round(1e-4 + 1e-7 * i, 7) for i in range(1000)]} for key in floats},
            "logarithm": {"optim.learning_rate": {"float": [1e-12, 1], "log": True}, "train.eval_interval": {"int": [1, 10**12], "log": True}},
            "one": {key: {"float": [0.5, 0.5]} for key in floats} | {"train.log_interval": {"int": [1, 10**12], "step": 10**12 - 1}},
        }
        for name, space in spaces.items():
            result = self.sweep(name, {"space": space, "budget.trials": 1, "budget.steps": 1})
            self.assertEqual(result.code, 0, result)
        step = {"optim.weight_decay": {"float": [0, 1], "step": 1e-320}, "train.batch_size": {"int": [4, 4], "step": 2**64 - 1},
                "optim.eps": {"float": [5e-324, 1e-8], "log": True}}
        self.assert_refused(self.sweep("steps", {"space": step, "budget.trials": 1}), USAGE, ("optim.weight_decay", "train.batch_size"))
        self.assert_refused(self.sweep("denormal", {"space": {"optim.eps": step["optim.eps"]}, "budget.trials": 1}), USAGE,
                            ("optim.eps: 5e-324 is out of range",))


class Flags(ExtremesCase):
    """Commands whose flags are numbers; a new one needs a line here, or the first test fails."""

    FLAG = re.compile(r"(--[a-z-]+) (N|X|TIME)\b")
    NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder, cls.dense = cls.home / "run", cls.home / "dense"
        without_router = ("--set", "model.moe.num_experts=0", "--set", "model.moe.shared_experts=1")
        for folder, more in ((cls.run_folder, ()), (cls.dense, without_router)):
            trained = makemoe("train", "--config", cls.config, "--data", cls.text, "--out", folder, "--stop-after", 1, *more)
            if trained.code != 0:
                raise AssertionError(trained)
        cls.file = cls.home / "sweep.json"
        cls.file.write_text(json.dumps({"base": str(cls.config), "set": {"data.path": str(cls.text), "train.max_iters": 1},
                                        "space": {"optim.learning_rate": {"choices": [0.001]}}, "strategy": {"kind": "grid"}}))
        cls.swept = cls.home / "sweep"
        makemoe("sweep", "run", cls.file, "--out", cls.swept)

    def command(self, name):
        out = self.folder / f"out-{next(self.count)}"
        return {"train": ("--config", self.config, "--data", self.text, "--out", out, "--set", "train.max_iters=2"),
                "generate": (self.run_folder, "--max-new-tokens", 3, "--seed", 1),
                "bench": ("--config", self.config, "--steps", 1, "--json"),
                "inspect": (self.run_folder, "--depth"), "upcycle": (self.dense, "--num-experts", 4, "--out", out),
                "sweep run": (self.file, "--out", out), "sweep worker": (self.swept,),
                "data prepare": (self.text, "--tokenizer", self.run_folder / "tokenizer.json", "--out", out),
                "tokenizer train": (self.text, "--vocab-size", 300, "--out", out),
                "tokenizer encode": (self.text, "--tokenizer", self.run_folder / "tokenizer.json"),
                "tokenizer info": (self.run_folder / "tokenizer.json", self.text)}[name]

    def flags(self):
        words = re.compile(r"^  ([a-z]+) +[A-Z]", re.M)
        for command in words.findall(makemoe("--help").out.partition("Subcommands:")[2]):
            text = makemoe(command, "--help").out
            below = words.findall(text.partition("Subcommands:")[2])
            for name in [f"{command} {word}" for word in below] or [command]:
                for flag, kind in self.FLAG.findall(makemoe(*name.split(), "--help").out):
                    yield name, flag, kind

    def range_of(self, name, flag, kind):
        """What the flag itself says when it is given what lies below."""
        below = {"N": -2**63, "X": "-1e300", "TIME": "1e-9"}[kind]
        result = makemoe(*name.split(), *self.command(name), flag, below)
        self.assert_refused(result, USAGE)
        if "does not fit" in result.err:  # of those without a sign
            return ["0", str(2**64 - 1)]
        return self.NUMBER.findall(result.err.partition("; ")[2].partition(" (1 is")[0])

    def test_each_flag_at_its_extremes_runs_or_is_refused_clearly(self):
        flags = list(self.flags())
        self.assertGreaterEqual({name for name, _, _ in flags}, {"train", "generate", "bench", "sweep run", "sweep worker"})
        ranges = together(lambda flag: self.range_of(*flag), flags)
        cases = []
        for (name, flag, kind), found in zip(flags, ranges):
            self.assertGreaterEqual(len(found), 2, (name, flag, found))
            cases += [(name, flag, value) for value in found if (f"{name} {flag}", int(float(value))) not in SLOW]
        def run(case):
            name, flag, value = case
            return makemoe(*name.split(), *self.command(name), flag, value, preexec_fn=limited(AS=LIMIT))
        for case, result in zip(cases, together(run, cases)):
            if result.code != 0:
                self.assert_refused_clearly(result, case)
            self.assert_clean(result)

    def test_samples_beyond_the_memory_are_refused_before_the_first(self):
        for label, flags in {"plain": (), "as JSON": ("--json",)}.items():
            with self.subTest(label):
                result = makemoe("generate", self.run_folder, "--max-new-tokens", 100_000_000, "--num-samples", 4096, *flags)
                self.assert_refused(result, RESOURCES, ("4096 samples", "are available; lower --"))


class Memory(ExtremesCase):
    """What is said stands between 0.8 and 1.5 times what is taken: the layers' part is a formula of the widths that leaves out
    padding, scratch memory and the allocator, and libtorch's own code comes into memory as it is first used."""

    TIGHT, LOOSE = 0.8, 1.5

    def text_of(self, size):
        path = self.folder / f"text-{size}"
        play = TEXT.read_bytes()
        path.write_bytes((play * (size // len(play) + 1))[:size].decode(errors="ignore").encode())
        return path

    def said_and_taken(self, text, keys):
        command = ("train", "--config", self.config, "--data", text, *settings(keys.items()), "--set", "eval.mode=random",
                   "--set", "eval.eval_iters=1", "--device", "cpu")
        said = strict_json(self.done(*command, "--dry-run", "--json").out)["memory_bytes"]
        process = start(*command, "--out", self.folder / f"run-{next(self.count)}", "--stop-after", 2)
        taken = 0
        while process.poll() is None:
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                break
            peak = re.search(r"VmHWM:\s+(\d+) kB", status)
            taken = max(taken, int(peak.group(1)) * 1024 if peak else 0)
            time.sleep(0.005)
        self.assertEqual(process.wait(), 0, process.communicate()[1])
        return said, taken

    def test_what_is_said_is_what_is_taken_where_the_text_the_batch_or_the_model_is_large(self):
        shapes = {
            "nothing is large": (20_000, {}),
            "a text": (15_000_000, {}),
            "a text on the disk": (40_000_000, {}),
            "a text by epochs": (15_000_000, {"data.order": "epoch", "model.block_size": 4}),
            "a batch": (20_000, {"train.batch_size": 128, "model.block_size": 64, "model.n_embed": 64, "model.n_layer": 2}),
            "a batch of a short text": (90, {"train.batch_size": 16384}),
            "a model": (20_000, {"model.n_embed": 192, "model.n_layer": 2, "model.moe.num_experts": 16}),
        }
        for label, (size, keys) in shapes.items():
            with self.subTest(label):
                said, taken = self.said_and_taken(self.text_of(size), keys)
                print(f"{label}: said {said / 1e6:.0f} MB, took {taken / 1e6:.0f} MB")
                self.assertTrue(self.TIGHT <= said / taken <= self.LOOSE, (label, said, taken))

    def test_a_text_beyond_the_memory_is_refused_before_it_is_read_and_before_it_is_encoded(self):
        sparse = self.folder / "sparse"
        with sparse.open("wb") as file:
            file.truncate(3 << 30)
        # A run would leave it on the disk. These two write nothing, and hold what they read.
        dry_run = ("train", "--config", self.config, "--out", self.folder / "run", "--dry-run")
        for command in (dry_run, ("bench", "--config", self.config)):
            result = makemoe(*command, "--set", f"data.path={sparse}", preexec_fn=limited(AS=2 << 30))
            self.assert_refused(result, RESOURCES, (sparse, "its 3.2 GB need about 6.4 GB of memory", "give a shorter text"))
        result = makemoe(*dry_run, "--data", self.text_of(80_000_000), preexec_fn=limited(AS=700 << 20))
        self.assert_refused(result, RESOURCES, ("symbols need about", "are available; give a shorter text"))
        self.assertFalse((self.folder / "run").exists())


class Soak(ExtremesCase):
    """The long form."""

    def test_pairs_of_keys_at_their_extremes_run_or_are_refused_clearly(self):
        seconds = float(os.environ.get("MAKEMOE_SOAK", 0))
        if seconds <= 0:
            self.skipTest("MAKEMOE_SOAK is not set")
        values = [(key, value) for key, _, low, high in self.keys for value in (low, high)]
        endless, counts, end = [], {}, time.monotonic() + seconds
        def run(pairs):
            if time.monotonic() > end or any((pair,) in endless for pair in pairs):
                return
            random_mode = (("eval.mode", "random"),) if any(key == "eval.eval_iters" for key, _ in pairs) else ()
            result = self.train((*pairs, *random_mode))
            if result is None:
                endless.append(pairs)
            code = None if result is None else result.code
            counts[code] = counts.get(code, 0) + 1
        together(run, [(value,) for value in values])
        pairs = [pair for pair in itertools.combinations(values, 2) if pair[0][0] != pair[1][0]]
        random.Random(1).shuffle(pairs)
        together(run, pairs)
        print(f"{sum(counts.values())} of {len(values) + len(pairs)} ran; by exit code (None: {TIMEOUT} s were too short): {counts}")
        for pair in endless:
            print("does not end:", ", ".join(f"{key}={value}" for key, value in pair))


if __name__ == "__main__":
    main(at_least=0)
