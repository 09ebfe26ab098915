#pragma once

#include "moe/data/char_tokenizer.h"
