#define MOE_LEVEL native_tiles_probe
#define MOE_VECTOR_BYTES 64
#define MOE_BFLOAT16
#define MOE_TILES
#include "tests/kernels/bfloat16_probe.h"
