#define MOE_LEVEL avx512
#define MOE_LEVEL_NAME "avx512"
#define MOE_VECTOR_BYTES 64
#include "kernels/cpu/levels/level.h"
