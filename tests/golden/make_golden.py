"""Writes lm_<name>.safetensors: what the published model computes, for tests/model/golden_test.cpp.

Needs torch and safetensors: python tests/golden/make_golden.py
Names: param.<name>, ids, targets, noise (L,N,E) where the case has some, and in float64 logits,
loss, grad.<name>, losses (ten AdamW updates on one batch); the same in float32 as logits32, loss32
and losses32. The metadata's "shape" is the model's shape as JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from reference_model import Shape, SparseMoELanguageModel
from safetensors.torch import save_file

UPDATES = 10


def shape(embed, heads, layers, experts, top_k, block, vocab, router="noisy_topk") -> Shape:
    return Shape(
        vocab_size=vocab,
        block_size=block,
        n_embed=embed,
        n_head=heads,
        n_layer=layers,
        num_experts=experts,
        top_k=top_k,
        router=router,
    )


# name: (shape, B, T, with noise)
CASES = {
    "noisy": (shape(16, 4, 2, 4, 2, 8, 11), 4, 8, True),
    "topk": (shape(8, 2, 2, 4, 2, 8, 11, "topk"), 4, 8, False),
    "all_experts": (shape(8, 2, 2, 3, 3, 8, 11), 2, 8, False),
    "one_expert": (shape(8, 2, 2, 1, 1, 8, 11), 2, 8, False),
    "odd": (shape(12, 3, 1, 5, 3, 7, 9), 3, 5, False),
}


def run(s: Shape, weights: dict, ids, targets, noise, dtype):
    """Logits, loss and gradients at `weights`, then the losses of the updates from there."""
    model = SparseMoELanguageModel(s).to(dtype)
    model.load_state_dict({name: value.to(dtype) for name, value in weights.items()})
    if noise is not None:
        noise = noise.to(dtype).view(s.n_layer, *ids.shape, s.num_experts)
    for p in model.parameters():  # an expert without a token has a zero gradient, not none
        p.grad = torch.zeros_like(p)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    first, losses = None, []
    for _ in range(UPDATES):
        optimizer.zero_grad(set_to_none=False)
        logits, loss = model(ids, targets, noise)
        loss.backward()
        if first is None:
            grads = {name: p.grad.clone() for name, p in model.named_parameters()}
            first = (logits.detach(), loss.detach(), grads)
        losses.append(loss.detach())
        optimizer.step()
    return *first, torch.stack(losses)


def main() -> None:
    for seed, (name, (s, batch, time, noisy)) in enumerate(CASES.items()):
        torch.manual_seed(1337 + seed)
        weights = SparseMoELanguageModel(s).state_dict()
        # Biases and norms away from their constants, so that no parameter's place goes untested.
        weights = {
            key: value + 0.1 * torch.randn_like(value) if value.dim() == 1 else value
            for key, value in weights.items()
        }
        ids = torch.randint(s.vocab_size, (batch, time))
        targets = torch.randint(s.vocab_size, (batch, time))
        noise = torch.randn(s.n_layer, batch * time, s.num_experts) if noisy else None

        out = {f"param.{key}": value.double() for key, value in weights.items()}
        out |= {"ids": ids, "targets": targets}
        if noise is not None:
            out["noise"] = noise.double()
        double = run(s, weights, ids, targets, noise, torch.float64)
        single = run(s, weights, ids, targets, noise, torch.float32)
        out["logits"], out["loss"], grads, out["losses"] = double
        out["logits32"], out["loss32"], _, out["losses32"] = single
        out |= {f"grad.{key}": value for key, value in grads.items()}
        path = Path(__file__).parent / f"lm_{name}.safetensors"
        save_file(
            {key: value.contiguous() for key, value in out.items()},
            path,
            metadata={"shape": json.dumps(asdict(s))},
        )
        print(path.name, path.stat().st_size, out["losses"].tolist())


if __name__ == "__main__":
    main()
