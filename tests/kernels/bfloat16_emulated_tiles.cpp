#define MOE_LEVEL emulated_tiles_probe
#define MOE_VECTOR_BYTES 64
#define MOE_BFLOAT16
#define MOE_TILES
#define MOE_EMULATED_TILES
#include "tests/kernels/bfloat16_probe.h"
