#pragma once

// The loops that serve the CPU, as the twins of kernel texts: one copy of their own, in plain
// vectors of 16 bytes.

#define MOE_LEVEL cuda_twin
#define MOE_LEVEL_NAME "cuda_twin"
#define MOE_VECTOR_BYTES 16

// Vectors as arguments stay within one file: no ABI to warn of.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"
#include "kernels/cpu/adamw.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/gates.h"
#include "kernels/cpu/mixture.h"
#include "kernels/cpu/muon.h"
#include "kernels/cpu/skip.h"

namespace moe::kernels::cuda {
namespace twin = cpu::cuda_twin;
}
