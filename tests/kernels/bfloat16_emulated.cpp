#define MOE_LEVEL emulated_probe
#define MOE_VECTOR_BYTES 64
#define MOE_BFLOAT16
#include "tests/kernels/bfloat16_probe.h"
