#!/usr/bin/env bash
# Formats every C++ file of the project; --check only says which differ (exit 1).
set -euo pipefail
exec </dev/null
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$MAKEMOE_ROOT"

case "${1:-}" in
  "") arguments=(-i) ;;
  --check) arguments=(--dry-run --Werror) ;;
  *)
    echo "usage: scripts/format.sh [--check]" >&2
    exit 2
    ;;
esac

# Versions differ in details: 14 is the one that decides, where it is there.
tool=clang-format-14
if ! command -v "$tool" >/dev/null; then
  setup_apt clang-format
  tool=clang-format
fi
folders=()
for folder in include src tests bench; do
  [[ ! -d "$folder" ]] || folders+=("$folder")
done
mapfile -d '' files < <(find "${folders[@]}" -type f \
  \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0 | sort -z)
if ((${#files[@]} > 0)); then
  "$tool" "${arguments[@]}" "${files[@]}"
fi
echo "clang-format: ${#files[@]} files"
