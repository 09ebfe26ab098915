#!/usr/bin/env python3
"""Writes gguf.gguf with the Python package gguf: a key of every type, and hostile values as F32 beside what the package
makes of them in F16, BF16 and Q8_0, and what it reads back from those.

    pip install gguf==0.19.0 numpy==2.4.6
    python3 tests/golden/write_gguf.py

NaN and infinity become what x86-64 makes of them; another processor's conversions to int8 may differ.
"""

import pathlib

import gguf
import numpy

OUT = pathlib.Path(__file__).with_name("gguf.gguf")
BLOCK = 32  # values of Q8_0
TYPES = {"f16": gguf.GGMLQuantizationType.F16, "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0}


def from_bits(*bits):
    return numpy.array(bits, dtype=numpy.uint32).view(numpy.float32)


def hostile():
    """(rows, BLOCK) float32; NaN and infinity have rows of their own, since they decide the scale of a block of Q8_0."""
    draws = numpy.random.default_rng(59)
    bits = draws.integers(0, 1 << 32, (60, BLOCK), dtype=numpy.uint32).view(numpy.float32)
    rows = [draws.standard_normal((40, BLOCK)), draws.standard_normal((40, BLOCK)) * 10.0 ** draws.integers(-45, 38, (40, 1)),
            numpy.where(numpy.isfinite(bits), bits, 0), numpy.zeros((1, BLOCK)), -numpy.zeros((1, BLOCK)), numpy.full((1, BLOCK), 1e-45)]
    for scale in (1, 2.0**-14, 2.0**-24, 2.0**-126, 2.0**-140):  # ties of Q8_0 and of F16, down to subnormals
        rows.append([[scale * (i - 15.5) if i else 127 * scale for i in range(BLOCK)]])
    rows.append([[2.0**-24 * (i / 2) for i in range(BLOCK)]])  # ties among the subnormals of F16
    rows.append([[1 + (2 * i + 1) * 2.0**-11 for i in range(BLOCK)]])  # ties of F16
    rows.append([[1 + (2 * i + 1) * 2.0**-8 for i in range(BLOCK)]])  # ties of BF16
    rows.append([[65504 + i for i in range(BLOCK)]])  # where F16 ends
    rows.append([[float(numpy.finfo(numpy.float32).max)] * BLOCK])
    for special in from_bits(0x7F800000, 0xFF800000, 0x7F800001, 0x7FBFFFFF, 0x7FC00001, 0xFF812345):
        rows.append(numpy.where(numpy.arange(BLOCK) == 5, special, numpy.arange(BLOCK, dtype=numpy.float32))[None])
    return numpy.concatenate([numpy.asarray(row, dtype=numpy.float32) for row in rows])


def main():
    numpy.seterr(all="ignore")
    values = hostile()
    writer = gguf.GGUFWriter(OUT, "made-up")
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
        info = numpy.iinfo(kind)
        getattr(writer, f"add_{kind}")(f"number.{kind}", int(info.min or info.max))
    writer.add_float32("number.float32", 0.1)
    writer.add_float64("number.float64", 0.1)
    writer.add_bool("flag", True)
    writer.add_string("text", "a \"quoted\"\n\ttext of é and 漢")
    writer.add_array("list.numbers", [-1, 2, 3])
    writer.add_array("list.fractions", [0.5, -0.25])
    writer.add_array("list.flags", [True, False, True])
    writer.add_array("list.texts", ["", "b", "\\n", "🌊"])
    writer.add_tensor("values", values)
    for name, kind in TYPES.items():
        quantized = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, quantized, raw_dtype=kind)
        writer.add_tensor(f"{name}.back", gguf.quants.dequantize(quantized, kind))
    writer.add_tensor("three", numpy.arange(24, dtype=numpy.float32).reshape(2, 3, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
