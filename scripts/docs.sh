#!/usr/bin/env bash
# Writes the documents that are made from the program: docs/config.md from the table of keys.
# `scripts/docs.sh --check` only says whether they are up to date (tests/e2e/docs_test.py asks).
set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.."
makemoe="${MAKEMOE_BIN:-build/makemoe}"

written="$(mktemp)"
trap 'rm -f "$written"' EXIT
# shellcheck disable=SC2016  # the backquotes are Markdown's
{
  printf '# Config keys\n\n'
  printf 'Every key of a config file, made by `scripts/docs.sh` from the tables in\n'
  printf '`include/moe/config`; do not edit. `makemoe config defaults` prints the same.\n'
  printf 'Precedence: default < `extends` < file < `--set KEY=VALUE` < dedicated flags.\n\n'
  printf '```\n'
  "$makemoe" config defaults
  printf '```\n'
} >"$written"

if [[ "${1:-}" == --check ]]; then
  if ! diff -u docs/config.md "$written"; then
    echo "docs/config.md is out of date; run scripts/docs.sh" >&2
    exit 1
  fi
else
  cat "$written" >docs/config.md
fi
