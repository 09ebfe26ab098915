"""Repeats the rows of docs/recipes.md: trains configs/study/ROW.json and measures what it reached.

    python3 bench/study.py list
    python3 bench/study.py run muon router --seeds 1337 1338 --data data/tinyshakespeare.txt
    python3 bench/study.py run --short               # every row, 30 steps each: a few minutes
    python3 bench/study.py time published muon       # ms a step, the rows in turn; leave the machine alone
                                                     # (`published` among them)
    python3 bench/study.py record                    # runs/study -> docs/study.json
    python3 bench/study.py table                     # docs/study.json -> the tables of docs/recipes.md

A run that is there already is resumed or, if it has ended, only measured. The weights measured are
those of the last step: nothing is chosen. Losses are in nats per character, over every target of
the last tenth of the text exactly once, over each half of it, and with a stride of half a context.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "study"
RECORD = ROOT / "docs" / "study.json"
SEEDS = [1337]
SHORT = {"train.max_iters": 30, "train.eval_interval": 30, "optim.schedule.warmup_iters": 5}
ROUNDS = 5
BASE = "published"  # whose step tells which rates the kernels reach
COLUMNS = ("loss", "first_half", "second_half", "strided")

# From makeMoE as published to the preset: each row is the one before it and one thing more.
LADDER = {
    "published": "makeMoE as published",
    "schedule": "scores scaled by the head size, PyTorch's initialisation, warm-up and cosine, no noise in evaluation",
    "rate": "rate 2e-3 falling to 0 on a line, beta2 0.99, weight decay 0.1, clipping",
    "epochs": "windows without replacement (`data.order` epoch)",
    "norms": "RMS norms, no biases",
    "rotary": "rotary positions, QK norms",
    "swiglu": "gated experts (swiglu) of width 336",
    "starts": "embedding N(0, 0.1), zero outputs, no decay of embedding and norms",
    "dropout": "dropout 0.05, none on attention weights",
    "router": "no router noise, Switch loss 0.01",
    "convolution": "short convolutions over 3 positions: `configs/modern-adamw.json`",
    "muon": "Muon for the matrices: `configs/modern.json`",
}
# The last row of the ladder with one thing changed.
CHANGES = {
    "no-convolution": "no short convolutions",
    "no-starts": "the starts of PyTorch: embedding N(0, 1), outputs not zero; all matrices decay",
    "polar-express": "Muon: five steps of Polar Express, every matrix at every step",
    "quintic-each-step": "Muon: every matrix at every step",
    "cautious": "cautious decay, 1.4 falling to 0 on Muon's matrices",
    "fine": "16 experts of width 168, top 4",
    "loss-free": "sigmoid gates, loss-free balance and a small sequence loss",
    "no-balance": "no balance loss",
    "layer-norm": "layer norms",
    "four-heads": "4 heads of 32",
    "average": "tail average from 85 %, rate to 1e-4",
    "rates-4-3": "rates 4e-3 (AdamW) and 3e-3 (Muon)",
    "dropout-0.1": "dropout 0.1",
    "shared": "15 experts of width 168, top 3, and a shared one",
    "x0": "what enters the first block is added before each (`x0_shortcut`)",
    "value-residual": "values of the first block mixed into each",
    "bigrams": "a table of pairs of symbols, added before each block",
}
DENSE = {
    "dense-active": "one dense layer of width 672: as many parameters a token",
    "dense-total": "one dense layer of width 2,688: as many parameters in all",
}
ROWS = {**LADDER, **CHANGES, **DENSE}


def call(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{program} {' '.join(map(str, arguments))}\n{done.stderr}")
    return json.loads(done.stdout)


def settings(values):
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def halves(data, fraction, folder):
    """The two halves of the validation part of a text, as files."""
    text = data.read_text(encoding="utf-8")
    held_out = text[int(len(text) * fraction):]
    middle = len(held_out) // 2
    files = {}
    for name, part in (("first_half", held_out[:middle]), ("second_half", held_out[middle:])):
        files[name] = pathlib.Path(folder) / f"{name}.txt"
        files[name].write_text(part, encoding="utf-8")
    return files


def measure(program, run, data, config):
    """The losses of a run's last checkpoint, and how its routers spread the tokens."""
    last = f"{run}@last"
    whole = call(program, "eval", last, "--data", data, "--split", "val", "--json")
    out = {"loss": whole["loss"], "max_vio": whole["max_vio"],
           "smallest_load": min((min(layer) * len(layer) for layer in whole["expert_load"] if layer), default=None)}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in halves(data, config["data"].get("train_fraction", 0.9), folder).items():
            out[name] = call(program, "eval", last, "--data", path, "--json")["loss"]
    stride = config["model"]["block_size"] // 2
    out["strided"] = call(program, "eval", last, "--data", data, "--split", "val", "--json",
                          *settings({"eval.stride": stride}))["loss"]
    return out


def run_row(program, row, seed, data, out, short):
    config_path = CONFIGS / f"{row}.json"
    run = out / f"{row}-{seed}"
    more = settings({"seed": seed, **(SHORT if short else {})})
    if not (run / "run.json").exists() or json.loads((run / "run.json").read_text())["status"] != "finished":
        resume = ["--resume"] if run.exists() else ["--config", config_path, *more]
        call(program, "train", "--data", data, "--out", run, *resume, "--json")
    facts = json.loads((run / "run.json").read_text())
    config = json.loads((run / "config.json").read_text())
    result = {"row": row, "config": f"configs/study/{row}.json", "seed": seed, "steps": facts["step"],
              "commit": facts["commit"], "processor": processor(), "threads": facts["threads"],
              "seconds": round(facts["seconds"], 1), **measure(program, run, data, config)}
    (run / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"{row} seed {seed}: {result['loss']:.4f} (halves {result['first_half']:.4f} "
          f"{result['second_half']:.4f}, strided {result['strided']:.4f})", flush=True)


def time_rows(program, rows, record):
    """Milliseconds a step by `bench`, the rows in turn, so that a slow minute meets them all."""
    taken = {row: [] for row in [BASE, *(row for row in rows if row != BASE)]}
    for _ in range(ROUNDS):
        for row in taken:
            taken[row].append(call(program, "bench", "--config", CONFIGS / f"{row}.json", "--json"))
    for row, rounds in taken.items():
        times = sorted(r["train_ms_per_step"] for r in rounds)
        record["times"][row] = {
            "ms_a_step": [times[0], statistics.median(times), times[-1]],
            "expected_ms": statistics.median(expected_ms(r, base) for r, base in zip(rounds, taken[BASE])),
            "processor": processor(), "product_gflops": statistics.median(r["machine"]["product_gflops"] for r in rounds)}
        print(f"{row}: {statistics.median(times):.1f} ms a step, {times[0]:.1f} to {times[-1]:.1f}, "
              f"expected {record['times'][row]['expected_ms']:.1f}", flush=True)


def expected_ms(row, base):
    """What a step should take by its FLOPs and bytes, at the rates that the step of `base` reached in the same round.
    Newton-Schulz has a rate of its own, which `bench` measures."""
    def work(of):
        parts = of["machine"]["predicted_ms"]
        return sum(parts.values()) - parts["newton_schulz"]

    reached = base["train_ms_per_step"] / work(base)
    return reached * work(row) + row["machine"]["predicted_ms"]["newton_schulz"]


def line(record, row, text):
    """One row of a table: the mean over the seeds, and how far they lie apart."""
    runs = [r for r in record["runs"] if r["row"] == row]
    if not runs:
        return None
    mean = {key: statistics.mean(r[key] for r in runs) for key in COLUMNS}
    spread = f" ± {statistics.stdev(r['loss'] for r in runs):.4f}" if len(runs) > 1 else ""
    time = record["times"].get(row)
    cells = [f"`{row}`", text, str(len(runs)), f"{mean['loss']:.4f}{spread}", *(f"{mean[key]:.4f}" for key in COLUMNS[1:]),
             *([f"{time['ms_a_step'][1]:.1f}", f"{time['expected_ms']:.1f}"] if time else ["", ""])]
    return f"| {' | '.join(cells)} |"


def print_tables(record):
    head = ("| row | what | seeds | loss | first half | second half | stride 16 | ms a step | expected |\n"
            "|---|---|---|---|---|---|---|---|---|")
    for title, rows in (("ladder", LADDER), ("changes", CHANGES), ("dense", DENSE)):
        print(f"\n{title}\n\n{head}")
        for row, text in rows.items():
            if shown := line(record, row, text):
                print(shown)


def collect(record, out):
    known = {(r["row"], r["seed"]): r for r in record["runs"]}
    for path in sorted(out.glob("*/result.json")):
        result = json.loads(path.read_text())
        if result["row"] in ROWS:
            known[result["row"], result["seed"]] = result
    order = list(ROWS)
    record["runs"] = sorted(known.values(), key=lambda r: (order.index(r["row"]), r["seed"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=["list", "run", "time", "record", "table"])
    parser.add_argument("rows", nargs="*", help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "data" / "tinyshakespeare.txt")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--program", default=str(ROOT / "build" / "makemoe"))
    parser.add_argument("--short", action="store_true", help="30 steps a row, to see that each one runs")
    given = parser.parse_intermixed_args()
    out = given.out or ROOT / "runs" / ("study-short" if given.short else "study")
    if unknown := [row for row in given.rows if row not in ROWS]:
        sys.exit(f"no such row: {', '.join(unknown)}; `list` names them")
    rows = given.rows or list(ROWS)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"runs": [], "times": {}}
    if given.what == "list":
        for row in rows:
            print(f"{row:18} {ROWS[row]}")
    elif given.what == "run":
        for seed in given.seeds:
            for row in rows:
                run_row(given.program, row, seed, given.data, out, given.short)
    elif given.what == "table":
        print_tables(record)
    else:
        time_rows(given.program, rows, record) if given.what == "time" else collect(record, out)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
