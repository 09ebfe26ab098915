#define MOE_LEVEL baseline
#define MOE_LEVEL_NAME "baseline"
#define MOE_VECTOR_BYTES 16
#include "kernels/cpu/levels/level.h"
