"""The check that compiles all CUDA kernels by NVRTC: what it must find, and what it must refuse.

Environment: MAKEMOE_SOURCE_DIR, the project's folder; MAKEMOE_NVRTC as scripts/check_cuda_kernels.sh
has it. That script installs NVRTC; without it the tests that compile are skipped.
"""

import os
import pathlib
import sys
import unittest

ROOT = pathlib.Path(os.environ["MAKEMOE_SOURCE_DIR"])
sys.path.insert(0, str(ROOT / "scripts"))

import check_cuda_kernels as checker

NVRTC = pathlib.Path(os.environ.get("MAKEMOE_NVRTC") or ROOT / "build-nvrtc/nvidia/cu13/lib")
WANTS_NVRTC = unittest.skipUnless(NVRTC.is_dir(), "no NVRTC: scripts/check_cuda_kernels.sh installs it")


class InstancesTest(unittest.TestCase):
    def test_a_template_is_instantiated_with_each_value_of_each_parameter(self):
        names = checker.instances("template <class F, class T>\n__global__ void go(T* to) {}\n")
        self.assertEqual(len(names), 10)
        self.assertIn("moe::kernels::cuda::go<moe::kernels::cuda::Gelu, double>", names)

    def test_a_kernel_without_parameters_has_its_own_name(self):
        self.assertEqual(checker.instances("__global__ void go(int n) {}"), ["moe::kernels::cuda::go"])

    def test_a_kernel_that_would_be_overlooked_is_an_error(self):
        with self.assertRaisesRegex(RuntimeError, "would not be compiled"):
            checker.instances("__global__ static void go() {}")

    def test_every_text_but_the_common_one_has_kernels(self):
        without = [name for name, text in checker.read_texts().items() if not checker.instances(text)]
        self.assertEqual(without, ["common.cuh"])


@WANTS_NVRTC
class NvrtcTest(unittest.TestCase):
    def compile(self, text):
        texts = {**checker.read_texts(), "broken.cuh": '#include "common.cuh"\n' + text}
        names = checker.instances(text)
        return checker.Compiler(NVRTC).cubin("broken.cuh", texts, names, checker.ARCHITECTURES[0])

    def test_all_kernels_compile(self):
        texts = checker.read_texts()
        count = sum(len(checker.instances(text)) for text in texts.values())
        self.assertEqual(checker.check(checker.Compiler(NVRTC), texts, ["sm_90"]), count)

    def test_a_text_that_does_not_compile_is_refused_with_its_place(self):
        with self.assertRaisesRegex(RuntimeError, r"broken.cuh for sm_80(.|\n)*broken.cuh\(2\)"):
            self.compile("namespace moe::kernels::cuda { __global__ void go(int n) { nothing(n); } }")

    def test_a_header_of_the_standard_library_is_refused(self):
        with self.assertRaisesRegex(RuntimeError, "could not open source file"):
            self.compile("#include <vector>\nnamespace moe::kernels::cuda { __global__ void go() {} }")

    def test_a_warning_is_refused(self):
        with self.assertRaisesRegex(RuntimeError, "it compiles, but: .*warning"):
            self.compile("namespace moe::kernels::cuda { __global__ void go() { int unused = 1; } }")

    def test_values_that_do_not_stay_in_registers_are_refused(self):
        with self.assertRaisesRegex(RuntimeError, "it compiles, but: .* bytes stack frame"):
            self.compile(
                """namespace moe::kernels::cuda {
                __global__ void go(int* to, int n) {
                  int values[64] = {1, 2, 3, 4};
                  for (int i = 0; i < n; ++i) values[to[i] % 64] += i;
                  *to = values[n % 64];
                } }"""
            )


if __name__ == "__main__":
    unittest.main()
