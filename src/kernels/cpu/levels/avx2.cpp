#define MOE_LEVEL avx2
#define MOE_LEVEL_NAME "avx2"
#define MOE_VECTOR_BYTES 32
#include "kernels/cpu/levels/level.h"
