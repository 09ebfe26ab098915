#!/usr/bin/env bash
# The long forms of tests that .ci/run runs for seconds. About three hours; `scripts/soak.sh PART...`
# runs some of: bare extremes concurrency stress parsers folders.
set -euo pipefail
exec </dev/null
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$MAKEMOE_ROOT"

: "${MAKEMOE_SOAK:=7200}"            # [s] for the extremes of numbers, alone and in pairs
: "${MAKEMOE_STRESS_SECONDS:=600}"   # [s] of workers that are killed at random
: "${MAKEMOE_FUZZ_SECONDS:=600}"     # [s] of damaged tokenizers, read under sanitizers
: "${MAKEMOE_WRITERS_SECONDS:=60}"   # [s] of eight processes that write at once

setup_all
cmake --preset release
cmake --build --preset release

# run_file FILE [VARIABLE=VALUE]...: one file of end-to-end tests, without ctest's limit of time.
run_file() {
  local file="$1" python
  shift
  python="$(sed -n 's/^MAKEMOE_PYTHON:FILEPATH=//p' build/CMakeCache.txt)"
  env MAKEMOE_BIN="$MAKEMOE_ROOT/build/makemoe" MAKEMOE_SOURCE_DIR="$MAKEMOE_ROOT" \
    OMP_WAIT_POLICY=passive "$@" "$python" "tests/e2e/$file.py" --verbose
}

part() {
  printf '\n==> %s  %s\n' "$(date -u +%H:%M:%SZ)" "$1"
  case "$1" in
    bare) scripts/bare.sh ;;
    extremes) run_file extremes_test MAKEMOE_SOAK="$MAKEMOE_SOAK" ;;
    concurrency) run_file concurrency_test MAKEMOE_STRESS_SECONDS="$MAKEMOE_WRITERS_SECONDS" ;;
    stress) run_file sweep_test MAKEMOE_STRESS_SECONDS="$MAKEMOE_STRESS_SECONDS" ;;
    folders) run_file transformers_test MAKEMOE_SOAK="$MAKEMOE_SOAK" ;;
    parsers)
      cmake --preset asan
      cmake --build --preset asan --target moe_data_tests
      env MAKEMOE_SOURCE_DIR="$MAKEMOE_ROOT" MAKEMOE_FUZZ_SECONDS="$MAKEMOE_FUZZ_SECONDS" \
        build-asan/moe_data_tests --gtest_filter='*Damaged*'
      ;;
    *)
      printf 'soak.sh: "%s" is no part; give some of: bare extremes concurrency stress parsers folders\n' "$1" >&2
      exit 2
      ;;
  esac
}

if (($# == 0)); then
  set -- bare extremes concurrency stress parsers folders
fi
for name in "$@"; do
  part "$name"
done
