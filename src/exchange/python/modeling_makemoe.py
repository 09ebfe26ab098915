"""A language model that makemoe trained, layer by layer, under the names that its weights have there.

It computes what makemoe computes in evaluation. What is for training alone (dropout, losses that balance
the experts, capacity, jitter) is left out. There is no cache: each new token is computed from the last
`context` ones anew.

Shapes: B sequences, T positions, N = B*T tokens, C width, D head width, E experts, K chosen ones, V symbols.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .configuration_makemoe import MakemoeConfig

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "relu2": lambda x: F.relu(x).square()}
QK_NORM_EPS = 1e-6


class Vector(nn.Module):
    """A gain, or a weight of a sum."""

    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))


class RmsNorm(Vector):
    def __init__(self, width, eps):
        super().__init__(width)
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def make_norm(spec):
    if spec["norm"]["kind"] == "rms":
        return RmsNorm(spec["width"], spec["norm"]["eps"])
    return nn.LayerNorm(spec["width"], spec["norm"]["eps"])


class ShortConv(Vector):
    """Each channel of x (B, T, C) adds a weighted sum of its values at the last positions."""

    def forward(self, x):
        time, taps = x.size(1), self.weight.size(1)
        rows = F.pad(x, (0, 0, taps - 1, 0))
        return x + sum(self.weight[:, lag] * rows[:, taps - 1 - lag : taps - 1 - lag + time] for lag in range(taps))


def rotate(x, base):
    """x (B, T, D): pairs of one value in either half turn with the position."""
    exponents = torch.arange(0, x.size(-1), 2, dtype=torch.float64, device=x.device) / -x.size(-1)
    turns = torch.outer(torch.arange(x.size(1), dtype=torch.float64, device=x.device), base**exponents)
    cosine, sine = turns.cos().to(x.dtype), turns.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cosine - b * sine, b * cosine + a * sine], -1)


class Head(nn.Module):
    def __init__(self, spec, width):
        super().__init__()
        self.key = nn.Linear(width, spec["head_width"], bias=False)
        self.query = nn.Linear(width, spec["head_width"], bias=False)
        self.value = nn.Linear(width, spec["head_width"], bias=False)


class MultiHeadAttention(nn.Module):
    def __init__(self, spec, width):
        super().__init__()
        self.spec = spec
        self.heads = nn.ModuleList([Head(spec, width) for _ in range(spec["heads"])])
        self.proj = nn.Linear(spec["heads"] * spec["head_width"], width, bias=spec["bias"])
        if spec["mixes_values"]:
            self.value_lambda = Vector(1)
        if spec["qk_norm"] == "head":
            self.q_norm = RmsNorm(spec["head_width"], QK_NORM_EPS)
            self.k_norm = RmsNorm(spec["head_width"], QK_NORM_EPS)

    def values(self, x, first_values):
        """(B, T, D) of each head; those of the first block go into the list, and later ones mix with them."""
        own = [head.value(x) for head in self.heads]
        if self.spec["gives_values"]:
            first_values.extend(own)
        if not self.spec["mixes_values"]:
            return own
        share = self.value_lambda.weight
        return [(1 - share) * value + share * first for value, first in zip(own, first_values)]

    def turned(self, x, norm):
        x = getattr(self, norm)(x) if self.spec["qk_norm"] == "head" else x
        return x if self.spec["rotary_base"] is None else rotate(x, self.spec["rotary_base"])

    def forward(self, x, first_values):
        future = torch.ones(x.size(1), x.size(1), dtype=torch.bool, device=x.device).triu(1)
        answers = []
        for head, value in zip(self.heads, self.values(x, first_values)):
            query, key = self.turned(head.query(x), "q_norm"), self.turned(head.key(x), "k_norm")
            scores = query @ key.transpose(-2, -1) * self.spec["scale"]  # (B, T, T)
            answers.append(scores.masked_fill(future, float("-inf")).softmax(-1) @ value)
        return self.proj(torch.cat(answers, -1))


class Expert(nn.Module):
    def __init__(self, spec, width):
        super().__init__()
        def linear(fan_in, fan_out):
            return nn.Linear(fan_in, fan_out, bias=spec["bias"])
        self.activation = spec["activation"]
        if self.activation == "swiglu":
            self.net = nn.ModuleDict({"gate": linear(width, spec["width"]), "up": linear(width, spec["width"]),
                                      "down": linear(spec["width"], width)})
        else:
            self.net = nn.ModuleDict({"0": linear(width, spec["width"]), "2": linear(spec["width"], width)})

    def forward(self, x):
        if self.activation == "swiglu":
            return self.net["down"](F.silu(self.net["gate"](x)) * self.net["up"](x))
        return self.net["2"](ACTIVATIONS[self.activation](self.net["0"](x)))


class Router(nn.Module):
    """Which experts a token has, and their gates: two tensors (N, K)."""

    def __init__(self, spec, width, vocab):
        super().__init__()
        self.spec = spec
        def linear():
            return nn.Linear(width, spec["experts"], bias=spec["bias"])
        if spec["router"] == "noisy_topk":
            self.topkroute_linear, self.noise_linear = linear(), linear()
        else:
            self.linear = linear()
        if spec["balance_bias"]:
            self.register_buffer("balance_bias", torch.zeros(spec["experts"]))
        if spec["router"] == "hash":
            self.register_buffer("hashed", torch.zeros(vocab, spec["top_k"], dtype=torch.int64))

    def logits(self, x):
        if self.spec["router"] != "noisy_topk":
            return self.linear(x)
        clean = self.topkroute_linear(x)
        if not self.spec["noise_in_eval"]:
            return clean
        return clean + torch.randn_like(clean) * F.softplus(self.noise_linear(x))

    def choose(self, logits, symbols):
        if self.spec["router"] == "hash":
            return self.hashed[symbols]
        if self.spec["balance_bias"]:
            scores = logits.sigmoid() if self.spec["gate"] == "sigmoid" else logits.softmax(-1)
            logits = scores + self.balance_bias
        return logits.sort(dim=-1, descending=True, stable=True).indices[:, : self.spec["top_k"]]

    def gates(self, logits, experts):
        if self.spec["gate"] == "softmax_topk":
            return logits.softmax(-1).gather(1, experts)
        chosen = logits.gather(1, experts)
        if self.spec["gate"] == "topk_softmax":
            return chosen.softmax(-1)
        normed = F.logsigmoid(chosen).softmax(-1) if self.spec["gate_norm"] else chosen.sigmoid()
        return normed * self.spec["gate_scale"]

    def forward(self, x, symbols):
        logits = self.logits(x)
        experts = self.choose(logits, symbols)
        return experts, self.gates(logits, experts)


class SparseMoE(nn.Module):
    def __init__(self, spec, width, vocab):
        super().__init__()
        self.experts = nn.ModuleList([Expert(spec, width) for _ in range(spec["experts"])])
        self.shared = nn.ModuleList([Expert(spec, width) for _ in range(spec["shared"])])
        self.router = Router(spec, width, vocab) if spec["experts"] > 0 else None
        self.shared_gate = nn.Linear(width, 1, bias=False) if spec["shared_gate"] else None

    def forward(self, x, symbols):
        x, shape = x.flatten(0, 1), x.shape
        y = torch.zeros_like(x)
        if self.router is not None:
            experts, gates = self.router(x, symbols.flatten())
            for number, expert in enumerate(self.experts):
                tokens, choice = torch.where(experts == number)
                y = y.index_add(0, tokens, expert(x[tokens]) * gates[tokens, choice, None])
        always = sum(expert(x) for expert in self.shared) if len(self.shared) > 0 else 0
        if self.shared_gate is not None:
            always = always * self.shared_gate(x).sigmoid()
        return (y + always).view(shape)


class NgramTable(Vector):
    """Rows of those runs of symbols that have one."""

    def __init__(self, rows, order, spec):
        super().__init__(rows, spec["width"])
        self.order, self.base = order, spec["vocab"] + 1
        self.register_buffer("keys", torch.zeros(rows, order, dtype=torch.int64))

    def numbers(self, runs):
        """(..., n) symbols, the last number of the base standing for none, as digits of one number."""
        powers = [self.base ** (self.order - 1 - i) for i in range(self.order)]
        return (runs * torch.tensor(powers, device=runs.device)).sum(-1)

    def forward(self, ids):
        runs = F.pad(ids, (self.order - 1, 0), value=self.base - 1).unfold(1, self.order, 1)  # (B, T, n)
        known, wanted = self.numbers(self.keys), self.numbers(runs)
        if len(known) == 0:
            return self.weight.new_zeros(*ids.shape, self.weight.size(1))
        rows = torch.searchsorted(known, wanted.contiguous()).clamp(max=len(known) - 1)
        return self.weight[rows] * (known[rows] == wanted).unsqueeze(-1)


class Block(nn.Module):
    def __init__(self, layer, spec):
        super().__init__()
        attention, feed_forward, width = layer["attention"], layer["feed_forward"], spec["width"]
        self.sa = MultiHeadAttention(attention, width)
        self.smoe = SparseMoE(feed_forward, width, spec["vocab"])
        self.ln1, self.ln2 = make_norm(spec), make_norm(spec)
        self.sa_conv = ShortConv(width, attention["short_conv"]) if attention["short_conv"] > 0 else nn.Identity()
        self.smoe_conv = ShortConv(width, feed_forward["short_conv"]) if feed_forward["short_conv"] > 0 else nn.Identity()
        self.resid_lambda, self.x0_lambda = (Vector(1), Vector(1)) if spec["x0_shortcut"] else (None, None)
        self.ngram_lambda = Vector(1) if spec["ngrams"] else None

    def forward(self, x, ids, x0, ngrams, first_values):
        if self.x0_lambda is not None:
            x = self.resid_lambda.weight * x + self.x0_lambda.weight * x0
        if self.ngram_lambda is not None:
            x = x + self.ngram_lambda.weight * ngrams
        x = x + self.sa(self.sa_conv(self.ln1(x)), first_values)
        return x + self.smoe(self.smoe_conv(self.ln2(x)), ids)


class MakemoeForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = MakemoeConfig

    def __init__(self, config):
        super().__init__(config)
        self.spec = spec = config.spec
        self.token_embedding_table = nn.Embedding(spec["vocab"], spec["width"])
        if spec["position_table"]:
            self.position_embedding_table = nn.Embedding(spec["context"], spec["width"])
        self.ngram = nn.ModuleDict({str(table["order"]): NgramTable(table["rows"], table["order"], spec)
                                    for table in spec["ngrams"]})
        self.blocks = nn.ModuleList([Block(layer, spec) for layer in spec["layers"]])
        self.ln_f = make_norm(spec)
        self.lm_head = nn.Module()  # of a tied model the weight is the token table
        self.lm_head.weight = None if spec["tied"] else nn.Parameter(torch.zeros(spec["vocab"], spec["width"]))
        self.lm_head.bias = nn.Parameter(torch.zeros(spec["vocab"])) if spec["bias"] else None
        self.post_init()

    def _init_weights(self, module):
        """Weights come from makemoe."""

    def get_input_embeddings(self):
        return self.token_embedding_table

    def get_output_embeddings(self):
        return None

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **others):
        return {"input_ids": input_ids[:, -self.spec["context"] :], "attention_mask": attention_mask}

    def forward(self, input_ids, attention_mask=None, labels=None, **others):
        if attention_mask is not None and not attention_mask[:, 0].all():
            raise ValueError("this model knows no padding on the left; give texts one by one, or pad on the right")
        x = self.token_embedding_table(input_ids)
        if self.spec["position_table"]:
            x = x + self.position_embedding_table.weight[: x.size(1)]
        x0, first_values = x, []
        ngrams = sum(table(input_ids) for table in self.ngram.values())
        for block in self.blocks:
            x = block(x, input_ids, x0, ngrams, first_values)
        weight = self.token_embedding_table.weight if self.spec["tied"] else self.lm_head.weight
        logits = F.linear(self.ln_f(x), weight, self.lm_head.bias)
        loss = None
        if labels is not None:  # each label stands where its symbol stands
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)
