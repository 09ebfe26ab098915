"""TPE against random search and against Optuna's TPE, on published test functions.

    cmake --build --preset release --target moe_propose
    build/venvs/optuna/bin/python bench/tpe.py build/moe_propose [--seeds 20] [--trials 60]

(The tests of sweeps make the environment; or python3 -m venv build/venvs/optuna, and its pip.)

For each function: the median over the seeds of the best value at 60 trials, and the p value of our
TPE being better than our random search (Wilcoxon's signed-rank test, one-sided, by its exact
distribution).
"""

import argparse
import json
import math
import statistics
import subprocess

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def floats(low, high, **more):
    return {"float": [low, high], **more}


def branin(p):
    """Branin 1972 (Dixon and Szego 1978); minimum 0.397887."""
    x, y = p["x"], p["y"]
    return ((y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
            + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


def hartmann6(p):
    """Hartmann 1973 (Dixon and Szego 1978), six dimensions; minimum -3.32237."""
    a = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    q = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
         [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]
    x = [p[f"x{i}"] for i in range(6)]
    return -sum(c * math.exp(-sum(a[i][j] * (x[j] - q[i][j] * 1e-4) ** 2 for j in range(6)))
                for i, c in enumerate([1.0, 1.2, 3.0, 3.2]))


def tree(p):
    """Jenatton et al. 2017, "Bayesian optimization with tree-structured dependencies", section 4.1: three
    choices select one of four leaves, each with a parameter of its own and one shared by two; minimum 0.1."""
    if p["x1"] == "left":
        return (p["x4"] ** 2 + 0.1 if p["x2"] == "left" else p["x5"] ** 2 + 0.2) + p["r8"]
    return (p["x6"] ** 2 + 0.3 if p["x3"] == "left" else p["x7"] ** 2 + 0.4) + p["r9"]


def gauss_wave2(p):
    """Of the benchmark functions that Bergstra et al. 2013 published with hyperopt, without its noise: a
    choice turns a wave on, which has an amplitude; minimum -2.835."""
    bump = 2 * math.exp(-((p["x"] / 5) ** 2))
    return -bump - (p["amplitude"] * math.sin(p["x"]) if p["wave"] else 0)


SIDES = {"choices": ["left", "right"]}
FUNCTIONS = {
    "Branin": (branin, {"x": floats(-5, 10), "y": floats(0, 15)}),
    "Hartmann 6": (hartmann6, {f"x{i}": floats(0, 1) for i in range(6)}),
    "tree (choices, conditions)": (tree, {
        "x1": SIDES, "x2": {**SIDES, "when": {"x1": "left"}}, "x3": {**SIDES, "when": {"x1": "right"}},
        "x4": floats(-1, 1, when={"x2": "left"}), "x5": floats(-1, 1, when={"x2": "right"}),
        "x6": floats(-1, 1, when={"x3": "left"}), "x7": floats(-1, 1, when={"x3": "right"}),
        "r8": floats(0, 1, when={"x1": "left"}), "r9": floats(0, 1, when={"x1": "right"})}),
    "gauss_wave2 (choices, conditions)": (gauss_wave2, {
        "x": floats(-20, 20), "wave": {"choices": [False, True]}, "amplitude": floats(0, 1, when={"wave": True})}),
}


def ours(program, function, space, strategy, trials):
    """The best value after each trial."""
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        print(json.dumps({"space": space, "strategy": strategy}), file=process.stdin, flush=True)
        best = math.inf
        for _ in range(trials):
            value = function(json.loads(process.stdout.readline()))
            best = min(best, value)
            print(json.dumps(value), file=process.stdin, flush=True)
        process.stdin.close()
    return best


def suggest(trial, key, parameter):
    if "choices" in parameter:
        return trial.suggest_categorical(key, parameter["choices"])
    if "int" in parameter:
        return trial.suggest_int(key, *parameter["int"])
    return trial.suggest_float(key, *parameter["float"])


def optunas(function, space, seed, trials):
    def objective(trial):
        point = {}
        for key, parameter in space.items():
            if all(point.get(other) == value for other, value in parameter.get("when", {}).items()):
                point[key] = suggest(trial, key, parameter)
        return function(point)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    return study.best_value


def signed_rank_p(better, worse):
    """P of so small a rank sum if neither were better; exact, ties in halves."""
    differences = [b - a for a, b in zip(better, worse) if a != b]
    order = sorted(range(len(differences)), key=lambda i: abs(differences[i]))
    ranks = {index: 2 * (place + 1) for place, index in enumerate(order)}  # twice, to stay whole
    against = sum(rank for index, rank in ranks.items() if differences[index] < 0)
    counts = {0: 1}
    for rank in ranks.values():
        new = dict(counts)
        for total, ways in counts.items():
            new[total + rank] = new.get(total + rank, 0) + ways
        counts = new
    return sum(ways for total, ways in counts.items() if total <= against) / 2 ** len(differences)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--trials", type=int, default=60)
    arguments = parser.parse_args()
    print(f"| function | random | TPE | Optuna {optuna.__version__} TPE | worse than Optuna by | p (TPE better than random) |")
    print("|---|---|---|---|---|---|")
    for name, (function, space) in FUNCTIONS.items():
        results = {"random": [], "tpe": [], "optuna": []}
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            for kind in ("random", "tpe"):
                strategy = {"kind": kind, "seed": seed}
                results[kind].append(ours(arguments.program, function, space, strategy, arguments.trials))
            results["optuna"].append(optunas(function, space, seed, arguments.trials))
        random, tpe, other = (statistics.median(results[kind]) for kind in ("random", "tpe", "optuna"))
        p = signed_rank_p(results["tpe"], results["random"])
        print(f"| {name} | {random:.4g} | {tpe:.4g} | {other:.4g} | {(tpe - other) / abs(other):+.1%} | {p:.2g} |", flush=True)


if __name__ == "__main__":
    main()
