#define MOE_LEVEL amx_bf16
#define MOE_LEVEL_NAME "amx_bf16"
#define MOE_VECTOR_BYTES 64
#define MOE_BFLOAT16
#define MOE_TILES
#include "kernels/cpu/levels/bfloat16.h"
