#!/usr/bin/env bash
# Feeds each reader of hostile files with changed copies of sound ones, under the sanitizers:
#   scripts/fuzz.sh [SECONDS [READER...]]      default: 600 seconds for each of all readers
# A failure names the seed and the number of its input: build-asan/moe_fuzz_READER 1 SEED NUMBER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:-600}"
shift || true
readers=("$@")
if ((${#readers[@]} == 0)); then
  readers=(token_file tokenizer safetensors gguf)
fi
cmake --preset asan >/dev/null
cmake --build build-asan --target "${readers[@]/#/moe_fuzz_}"
for reader in "${readers[@]}"; do
  printf '%s: ' "$reader"
  "build-asan/moe_fuzz_$reader" "${seconds}s" "$(date +%s)"
done
