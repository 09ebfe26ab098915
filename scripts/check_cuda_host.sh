#!/usr/bin/env bash
# Compiles the code that only a libtorch with CUDA has (`#ifdef MOE_CUDA`) against CUDA's headers:
# neither GPU nor CUDA build is needed, and nothing is linked. libtorch's CPU wheel has its part of
# the headers; the rest are two small wheels, installed into build-nvrtc/. Where they cannot be, this
# says so and checks nothing.
set -euo pipefail
exec </dev/null
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$MAKEMOE_ROOT"

readonly cuda_version=13.0.48
setup_system
setup_torch
setup_venv
torch="$(cd "$Torch_DIR/../../.." && pwd)/include"
cuda=build-nvrtc/headers/nvidia/cu13/include

if [[ ! -f "$cuda/crt/host_config.h" ]] && ! (
  setup_say "installing the headers of CUDA $cuda_version into build-nvrtc"
  .venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --upgrade \
    --target build-nvrtc/headers "nvidia-cuda-runtime==$cuda_version" "nvidia-cuda-crt==$cuda_version" >&2
); then
  echo "check_cuda_host: skipped, CUDA's headers cannot be installed here (see above)"
  exit 0
fi

# The one header that the CPU wheel leaves out: how libtorch's own build was configured.
generated=build-nvrtc/generated
mkdir -p "$generated/c10/cuda/impl"
printf '#pragma once\n#define C10_CUDA_BUILD_SHARED_LIBS\n' >"$generated/c10/cuda/impl/cuda_cmake_macros.h"

mapfile -t files < <(grep --recursive --files-with-matches --include='*.cpp' 'ifdef MOE_CUDA' src | sort)
for file in "${files[@]}"; do
  "${CXX:-g++}" -std=c++20 -fsyntax-only -Wall -Wextra -Wconversion -Wshadow -Werror -DMOE_CUDA \
    -Iinclude -Isrc -isystem "$torch" -isystem "$torch/torch/csrc/api/include" \
    -isystem "$generated" -isystem "$cuda" "$file"
done
echo "CUDA's host code: ${#files[@]} files compile: ${files[*]}"
