#!/usr/bin/env bash
# Compiles every CUDA kernel by NVRTC, for several GPUs; none is needed. NVRTC is a wheel of 90 MB,
# installed into build-nvrtc/; where it cannot be, this says so and checks nothing.
#
# Environment: MAKEMOE_NVRTC, a folder with libnvrtc.so and libnvrtc-builtins.so, instead of it.
set -euo pipefail
exec </dev/null
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$MAKEMOE_ROOT"

readonly nvrtc_version=13.0.88
folder="${MAKEMOE_NVRTC:-$MAKEMOE_ROOT/build-nvrtc/nvidia/cu13/lib}"

# Into a folder of its own: a CUDA build of torch may need another version of it. .venv only lends
# its pip, where Python has none.
install_nvrtc() {
  local python=python3
  if ! python3 -m pip --version >/dev/null 2>&1; then
    setup_system
    setup_venv
    python=.venv/bin/python
  fi
  setup_say "installing NVRTC $nvrtc_version into build-nvrtc"
  "$python" -m pip install --disable-pip-version-check --quiet --no-deps --upgrade \
    --target build-nvrtc "nvidia-cuda-nvrtc==$nvrtc_version" >&2
}

if [[ -z "${MAKEMOE_NVRTC:-}" && ! -d "$folder" ]] && ! (install_nvrtc); then
  echo "check_cuda_kernels: skipped, NVRTC cannot be installed here (see above)"
  exit 0
fi
python3 scripts/check_cuda_kernels.py "$folder"
