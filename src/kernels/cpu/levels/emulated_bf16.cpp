#define MOE_LEVEL emulated_bf16
#define MOE_LEVEL_NAME "emulated_bf16"
#define MOE_VECTOR_BYTES 64
#define MOE_BFLOAT16
#include "kernels/cpu/levels/bfloat16.h"
