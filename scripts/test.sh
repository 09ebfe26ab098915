#!/usr/bin/env bash
# Set-up, build, and the whole test suite; the last lines are ctest's tally.
set -euo pipefail
exec </dev/null
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$MAKEMOE_ROOT"

setup_all
cmake --preset release
cmake --build --preset release
# Two at a time where there are cores: many tests wait for processes.
ctest --preset release --output-on-failure --parallel "$(nproc)"
