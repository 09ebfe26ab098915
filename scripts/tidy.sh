#!/usr/bin/env bash
# clang-tidy over the torch-free rooms; any warning is an error (.clang-tidy).
set -euo pipefail
exec </dev/null
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$MAKEMOE_ROOT"

tool=clang-tidy-14
if ! command -v "$tool" >/dev/null; then
  setup_apt clang-tidy
  tool=clang-tidy
fi
setup_system
setup_cmake
cmake --preset tidy # one command a file, where the builds compile several files as one
cmake --build build-tidy --target moe_version_header
mapfile -d '' files < <(find src/base src/config src/tracking src/data src/store src/sweep src/report -name '*.cpp' -print0 |
  sort -z)
if ((${#files[@]} > 0)); then
  printf '%s\0' "${files[@]}" |
    xargs -0 -n 1 -P "$(nproc)" "$tool" -p build-tidy --quiet \
      --extra-arg=-Wno-unknown-warning-option  # the build's flags are gcc's
fi
echo "clang-tidy: ${#files[@]} files"
