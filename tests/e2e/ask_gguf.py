"""Answers questions about GGUF files, one JSON object a line, with the Python package gguf, for gguf_test.py."""

import json
import sys

import gguf
import numpy


def values(tensor):
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape([int(size) for size in reversed(tensor.shape)])


def keys(file):
    """Keys with their values, and tensors with their types and shapes, outermost first."""
    reader = gguf.GGUFReader(file)
    return {"keys": {name: field.contents() for name, field in reader.fields.items()},
            "tensors": {one.name: [one.tensor_type.name, [int(size) for size in reversed(one.shape)]] for one in reader.tensors}}


def unlike(whole, file):
    """Tensors whose bytes are not what the package makes of those of `whole`, a file of F32, in their type."""
    wanted = {one.name: one for one in gguf.GGUFReader(whole).tensors}
    found = gguf.GGUFReader(file).tensors
    out = sorted(wanted.keys() ^ {one.name for one in found})
    for one in found:
        quantized = gguf.quants.quantize(values(wanted[one.name]), one.tensor_type)
        if quantized.tobytes() != one.data.tobytes():
            out.append(one.name)
    return out


def unread(file, whole):
    """Tensors of `whole`, a file of F32, that are not what the package reads from `file`."""
    wanted = {one.name: values(one) for one in gguf.GGUFReader(file).tensors}
    return [one.name for one in gguf.GGUFReader(whole).tensors if not numpy.array_equal(values(one), wanted[one.name])]


def write(file, architecture, seed, symbols, width, heads, key_value_heads, layers, experts, chosen, hidden, context):
    """A mixture as others write it: random weights, and fewer heads of keys and values where so many are wanted."""
    draws = numpy.random.default_rng(seed)
    each = width // heads
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_value_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(each)
    writer.add_expert_count(experts)
    writer.add_expert_used_count(chosen)
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list([{"\n": "\\n", "\\": "\\\\"}.get(symbol, symbol) for symbol in symbols])
    writer.add_token_types([1] * len(symbols))

    def add(name, *shape, mean=0.0):
        writer.add_tensor(f"{name}.weight", (mean + draws.standard_normal(shape) * 0.3).astype(numpy.float32))

    add("token_embd", len(symbols), width)
    add("output_norm", width, mean=1)
    add("output", len(symbols), width)
    for layer in range(layers):
        at = f"blk.{layer}."
        add(at + "attn_norm", width, mean=1)
        add(at + "ffn_norm", width, mean=1)
        for name, count in (("q", heads), ("k", key_value_heads), ("v", key_value_heads)):
            add(at + f"attn_{name}", count * each, width)
        add(at + "attn_output", width, width)
        if architecture == "qwen3moe":
            add(at + "attn_q_norm", each, mean=1)
            add(at + "attn_k_norm", each, mean=1)
        add(at + "ffn_gate_inp", experts, width)
        add(at + "ffn_gate_exps", experts, hidden, width)
        add(at + "ffn_up_exps", experts, hidden, width)
        add(at + "ffn_down_exps", experts, width, hidden)
    if architecture == "qwen3moe":
        writer.add_expert_feed_forward_length(hidden)
        writer.add_key_length(each)
        writer.add_value_length(each)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    answers = {"keys": keys, "unlike": unlike, "unread": unread, "write": write}
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(answers[question.pop("ask")](**question)), flush=True)


if __name__ == "__main__":
    main()
