"""Compiles every kernel of src/kernels/cuda by NVRTC for several GPUs; no GPU is needed.

usage: check_cuda_kernels.py FOLDER, which holds libnvrtc.so.* and libnvrtc-builtins.so.*
"""

import ctypes
import pathlib
import re
import sys

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")  # A100, H100 and H200, B200
OPTIONS = (b"--std=c++20", b"--ptxas-options=--verbose")
TEXTS = pathlib.Path(__file__).resolve().parent.parent / "src/kernels/cuda"
NAMESPACE = "moe::kernels::cuda::"
VALUES = {"T": ("float", "double"), "F": ("Relu", "Gelu", "Silu", "Relu2", "Swiglu")}
# What a kernel takes of the GPU is no complaint, but for values that do not stay in registers: they
# go through memory, which a kernel should not do unnoticed.
RESOURCES = re.compile(r"ptxas info .*|ptxas +\. +0 bytes stack frame, 0 bytes spill stores.*")
KERNEL = re.compile(r"(?:template <([^>]*)>\s*)?__global__ void (\w+)\(")


def read_texts():
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(TEXTS.glob("*.cuh"))}


def instances(text):
    """The name expressions of all kernels of a text: each with each of its parameters' values."""
    if len(re.findall(r"\b__global__\b", text)) != len(KERNEL.findall(text)):
        raise RuntimeError("a kernel is not written as the others are, and would not be compiled")
    names = []
    for parameters, kernel in KERNEL.findall(text):
        choices = [""]
        for parameter in re.findall(r"class (\w+)", parameters):
            prefix = NAMESPACE if parameter == "F" else ""
            choices = [f"{before}, {prefix}{value}" for before in choices for value in VALUES[parameter]]
        names += [NAMESPACE + kernel + (f"<{choice[2:]}>" if choice else "") for choice in choices]
    return names


class Compiler:
    """NVRTC of a folder."""

    def __init__(self, folder):
        def load(pattern):
            found = sorted(pathlib.Path(folder).glob(pattern))
            if not found:
                raise OSError(f"no {pattern} in {folder}")
            return ctypes.CDLL(str(found[0]), mode=ctypes.RTLD_GLOBAL)

        load("libnvrtc-builtins.so*")  # which the library looks for by name, wherever it is
        self.library = load("libnvrtc.so*")
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(self, function, *arguments):
        code = getattr(self.library, function)(*arguments)
        if code != 0:
            raise RuntimeError(f"{function}: {self.library.nvrtcGetErrorString(code).decode()}")

    def text_of(self, program, kind):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{kind}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{kind}", program, text)
        return text.raw[: size.value]

    def log_of(self, program):
        return self.text_of(program, "ProgramLog").rstrip(b"\0").decode()

    def expect_no_complaint(self, program):
        lines = self.log_of(program).splitlines()
        complaints = [line for line in lines if line and not RESOURCES.fullmatch(line)]
        if complaints:
            raise RuntimeError("it compiles, but: " + complaints[0])

    def cubin(self, name, texts, expressions, architecture):
        """The machine code of texts[name] with these instances; the others are its headers."""
        program = ctypes.c_void_p()
        headers = [(other, text) for other, text in texts.items() if other != name]
        strings = ctypes.c_char_p * len(headers)
        self.call(
            "nvrtcCreateProgram",
            ctypes.byref(program),
            texts[name].encode(),
            name.encode(),
            len(headers),
            strings(*[text.encode() for _, text in headers]),
            strings(*[other.encode() for other, _ in headers]),
        )
        for expression in expressions:
            self.call("nvrtcAddNameExpression", program, expression.encode())
        options = [*OPTIONS, f"--gpu-architecture={architecture}".encode()]
        try:
            self.call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
            self.expect_no_complaint(program)
            return self.text_of(program, "CUBIN")
        except RuntimeError as error:
            raise RuntimeError(f"{name} for {architecture}: {error}\n{self.log_of(program)}") from None
        finally:
            self.call("nvrtcDestroyProgram", ctypes.byref(program))


def check(compiler, texts, architectures):
    """Compiles all kernels of all texts; how many, each architecture's counted."""
    count = 0
    for name, text in texts.items():
        expressions = instances(text)
        for architecture in architectures if expressions else ():
            if not compiler.cubin(name, texts, expressions, architecture):
                raise RuntimeError(f"{name} for {architecture}: no machine code")
            count += len(expressions)
    return count


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        total = check(Compiler(sys.argv[1]), read_texts(), ARCHITECTURES)
    except (RuntimeError, OSError) as problem:
        sys.exit(f"check_cuda_kernels: {problem}")
    print(f"NVRTC: {total} kernels, {', '.join(ARCHITECTURES)}")
