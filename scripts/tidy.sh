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
cmake --preset tidy
cmake --build build-tidy --target moe_version_header generated/folder_texts.cpp
# Several files are compiled as one, as in the builds: most of a file's time goes to the headers.
rooms='base|spec|config|tracking|data|store|exchange|sweep|report'
mapfile -t files < <(sed -n 's/^  "file": "\(.*\)",\{0,1\}$/\1/p' build-tidy/compile_commands.json |
  grep -E "/src/($rooms)/[^/]*\.cpp$|/src/CMakeFiles/moe_($rooms)\.dir/Unity/" | sort)
if ((${#files[@]} == 0)); then
  echo "clang-tidy: no files" >&2
  exit 1
fi
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" "$tool" -p build-tidy --quiet --header-filter='(include/moe|src)/' \
    --checks=-bugprone-suspicious-include \
    --extra-arg=-Wno-unknown-warning-option  # the build's flags are gcc's
echo "clang-tidy: ${#files[@]} files"
