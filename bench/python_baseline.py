#!/usr/bin/env python3
"""What a PyTorch user gets today: the published model as plain modules, timed.

One Linear per head, a Python loop over the experts, torch.optim.AdamW: the structure of the
walkthrough, with its dropout and its routing noise. Prints one JSON object whose keys are those of
`makemoe bench --json`, so that the two can be compared in one run.

    python3 python_baseline.py --threads 2 --steps 30 [--compile] [--fused] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"))
import reference_model as oracle  # noqa: E402


class DropoutHead(oracle.Head):
    def __init__(self, s, p):
        super().__init__(s)
        self.dropout = nn.Dropout(p)
        self.register_buffer("tril", torch.ones(s.block_size, s.block_size).tril())

    def forward(self, x):
        t, c = x.shape[-2:]
        scores = self.query(x) @ self.key(x).mT * c**-0.5
        weights = scores.masked_fill(self.tril[:t, :t] == 0, float("-inf")).softmax(-1)
        return self.dropout(weights) @ self.value(x)


def with_dropout(model: oracle.SparseMoELanguageModel, p: float) -> oracle.SparseMoELanguageModel:
    """The oracle has no dropout; training does. Puts it where the walkthrough has it."""
    for block in model.blocks:
        heads = block.sa.heads
        for i, head in enumerate(heads):
            noisy = DropoutHead(model.s, p)
            noisy.load_state_dict(head.state_dict(), strict=False)
            heads[i] = noisy
        block.sa.proj = nn.Sequential(block.sa.proj, nn.Dropout(p))
        for expert in block.smoe.experts:
            expert.net.append(nn.Dropout(p))
    return model


def median_ms(run, count):
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--warmup", type=int, default=5)
    p.add_argument("--tokens", type=int, default=100, help="tokens to generate")
    p.add_argument("--batch-size", type=int, default=16)
    p.add_argument("--device", default="cpu")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--fused", action="store_true", help="AdamW(fused=True)")
    p.add_argument("--capacity", type=float, default=None)
    for name in ("block_size", "n_embed", "n_head", "n_layer", "num_experts", "top_k"):
        p.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(oracle.Shape, name))
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1337)
    shape = oracle.Shape(block_size=a.block_size, n_embed=a.n_embed, n_head=a.n_head, n_layer=a.n_layer,
                         num_experts=a.num_experts, top_k=a.top_k, capacity_factor=a.capacity)
    model = oracle.SparseMoELanguageModel(shape)
    oracle.init_weights(model)
    model = with_dropout(model, 0.1).to(a.device)
    forward = torch.compile(model) if a.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=a.fused or None)
    text = torch.randint(shape.vocab_size, (100_000,), device=a.device)

    def batch():
        at = torch.randint(len(text) - shape.block_size, (a.batch_size,)).tolist()
        window = torch.stack([text[i : i + shape.block_size + 1] for i in at])
        noise = torch.randn(shape.n_layer, a.batch_size, shape.block_size, shape.num_experts, device=a.device)
        return window[:, :-1], window[:, 1:], noise

    def train_step():
        _, loss = forward(*batch())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    def eval_step():
        with torch.no_grad():
            return forward(*batch())[1].item()

    def generate():
        ids = torch.zeros(1, 1, dtype=torch.long, device=a.device)
        with torch.no_grad():
            for _ in range(a.tokens):
                noise = torch.randn(shape.n_layer, 1, min(ids.shape[1], shape.block_size), shape.num_experts, device=a.device)
                logits = model(ids[:, -shape.block_size :], noise=noise)[0][:, -1]
                ids = torch.cat([ids, torch.multinomial(F.softmax(logits, -1), 1)], 1)

    for _ in range(a.warmup):
        train_step()
    train_ms = median_ms(train_step, a.steps)
    model.eval()
    eval_step()
    eval_ms = median_ms(eval_step, a.steps)
    generate_ms = median_ms(generate, 1)
    tokens = a.batch_size * shape.block_size
    print(json.dumps({
        "train_ms_per_step": train_ms,
        "train_tokens_per_second": 1e3 * tokens / train_ms,
        "eval_tokens_per_second": 1e3 * tokens / eval_ms,
        "generate_tokens_per_second": 1e3 * a.tokens / generate_ms,
        "threads": a.threads,
        "device": a.device,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
