#!/usr/bin/env bash
# The set-up that the other scripts share. Sourced: it defines functions and the folder of the
# project, MAKEMOE_ROOT; run by itself it does the whole set-up (`scripts/setup.sh`).
#
# Environment: Torch_DIR or CMAKE_PREFIX_PATH name an existing libtorch; MAKEMOE_TORCH_INDEX is the
# index that pip takes the torch wheel from (the CPU wheels' index on a machine without NVIDIA GPU).

MAKEMOE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
MAKEMOE_TORCH_VERSION=2.13.0
MAKEMOE_TORCH_MINIMUM=2.11
MAKEMOE_CMAKE_MINIMUM=3.25

setup_say() { printf '[set-up] %s\n' "$*" >&2; }

# setup_die WHAT REMEDY
setup_die() {
  printf '[set-up] failed: %s\n[set-up] remedy: %s\n' "$1" "$2" >&2
  exit 1
}

# setup_at_least VERSION MINIMUM
setup_at_least() { [[ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" == "$2" ]]; }

setup_has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }

# setup_has_package PACKAGE: its command is on PATH, or dpkg has it installed.
setup_has_package() {
  local command=""
  case "$1" in
    g++ | cmake | pkg-config | ccache | clang-format | clang-tidy | shellcheck) command="$1" ;;
    ninja-build) command=ninja ;;
    python3-venv) python3 -c 'import ensurepip, venv' >/dev/null 2>&1 && return 0 ;;
  esac
  if [[ -n "$command" ]] && command -v "$command" >/dev/null; then
    return 0
  fi
  command -v dpkg-query >/dev/null &&
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

# setup_apt PACKAGE...: installs those that are missing, or stops with the one line to run.
setup_apt() {
  local package
  local -a missing=() as_root=()
  for package in "$@"; do
    setup_has_package "$package" || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then
    return 0
  fi
  local line="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  if ! command -v apt-get >/dev/null; then
    setup_die "missing: ${missing[*]}; there is no apt-get here" \
      "install these (Debian's names) with the system's package manager and run this again."
  fi
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      setup_die "missing system packages: ${missing[*]}" "run as root: sudo sh -c '$line'"
    fi
    as_root=(sudo -n)
  fi
  setup_say "installing ${missing[*]}"
  # A list that cannot be refreshed may still serve; the install itself decides.
  "${as_root[@]}" apt-get update -qq </dev/null >&2 || setup_say "apt-get update failed; going on"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${missing[@]}" </dev/null >&2 ||
    setup_die "apt-get install ${missing[*]}" "read apt's message above, then run as root: $line"
}

# Compiler, CMake and the libraries. ccache only makes builds faster: if it cannot be installed, the
# set-up continues without it.
setup_system() {
  local package
  local -a wanted=(g++ cmake ninja-build pkg-config python3-venv libcli11-dev libspdlog-dev
    libfmt-dev nlohmann-json3-dev libgtest-dev libgmock-dev libssl-dev libprotozero-dev libcpp-httplib-dev)
  local -a optional=(ccache ca-certificates)
  local needed=0
  for package in "${wanted[@]}"; do
    setup_has_package "$package" || needed=1
  done
  if ((needed)); then
    setup_apt "${wanted[@]}" "${optional[@]}"
  else
    (setup_apt "${optional[@]}") 2>/dev/null ||
      setup_say "going on without some of: ${optional[*]}"
  fi
  setup_say "system packages: ready"
}

setup_venv() {
  local venv="$MAKEMOE_ROOT/.venv"
  if [[ -x "$venv/bin/python" ]] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    return 0
  fi
  setup_say "creating .venv"
  python3 -m venv --clear "$venv" </dev/null >&2 ||
    setup_die "python3 -m venv .venv" "install python3-venv, then run this again."
}

# setup_pip WHAT REMEDY PIP-ARGUMENT...
setup_pip() {
  local what="$1" remedy="$2"
  shift 2
  setup_say "installing $what into .venv"
  "$MAKEMOE_ROOT/.venv/bin/python" -m pip install --disable-pip-version-check --quiet "$@" \
    </dev/null >&2 || setup_die "pip install $what" "$remedy"
}

# A CMake that is too old (Ubuntu 22.04 has 3.22) is answered with one in .venv.
setup_cmake() {
  local version
  version="$(cmake --version 2>/dev/null | sed -n '1s/.*version //p')"
  if ! setup_at_least "${version:-0}" "$MAKEMOE_CMAKE_MINIMUM"; then
    setup_say "CMake ${version:-is missing}; at least $MAKEMOE_CMAKE_MINIMUM is needed"
    setup_venv
    [[ -x "$MAKEMOE_ROOT/.venv/bin/cmake" ]] ||
      setup_pip "cmake" "install CMake $MAKEMOE_CMAKE_MINIMUM or newer." \
        "cmake>=$MAKEMOE_CMAKE_MINIMUM,<4"
    PATH="$MAKEMOE_ROOT/.venv/bin:$PATH"
    export PATH
  fi
}

# setup_torch_version FOLDER: the version in a folder with TorchConfig.cmake, or nothing.
setup_torch_version() {
  if [[ -f "$1/TorchConfig.cmake" ]]; then
    sed -n 's/.*set(PACKAGE_VERSION "\([0-9.]*\).*/\1/p' "$1/TorchConfigVersion.cmake" \
      2>/dev/null | head -n 1
  fi
}

# setup_python_torch PYTHON: the folder with TorchConfig.cmake of its torch, or nothing.
setup_python_torch() {
  local prefix
  prefix="$("$1" -c 'import torch; print(torch.utils.cmake_prefix_path)' 2>/dev/null)" || return 0
  printf '%s/Torch' "$prefix"
}

# setup_use_torch FOLDER WHENCE: true when the libtorch there is new enough.
setup_use_torch() {
  local version
  [[ -n "$1" ]] || return 1
  version="$(setup_torch_version "$1")"
  [[ -n "$version" ]] || return 1
  if ! setup_at_least "$version" "$MAKEMOE_TORCH_MINIMUM"; then
    setup_say "libtorch $version $2 is older than $MAKEMOE_TORCH_MINIMUM; not used"
    return 1
  fi
  export Torch_DIR="$1"
  setup_say "libtorch: $version $2"
}

# Looks for an existing libtorch, else installs the wheel. Sets and exports Torch_DIR.
setup_torch() {
  local prefix folder python
  local -a prefixes=()
  if [[ -n "${Torch_DIR:-}" ]]; then
    setup_use_torch "$Torch_DIR" "from Torch_DIR" ||
      setup_die "no libtorch >= $MAKEMOE_TORCH_MINIMUM in Torch_DIR=$Torch_DIR" \
        "point Torch_DIR at a folder with TorchConfig.cmake, or unset it."
    return 0
  fi
  IFS=':;' read -r -a prefixes <<<"${CMAKE_PREFIX_PATH:-}"
  for prefix in ${prefixes[@]+"${prefixes[@]}"}; do
    for folder in "$prefix/Torch" "$prefix/share/cmake/Torch" "$prefix"; do
      if setup_use_torch "$folder" "from CMAKE_PREFIX_PATH"; then
        return 0
      fi
    done
  done
  if setup_use_torch "$(setup_python_torch python3)" "of the active Python"; then
    return 0
  fi
  python="$MAKEMOE_ROOT/.venv/bin/python"
  if setup_use_torch "$(setup_python_torch "$python")" "in .venv"; then
    return 0
  fi
  setup_venv
  setup_torch_wheel
  setup_use_torch "$(setup_python_torch "$python")" "in .venv" ||
    setup_die "the torch wheel in .venv holds no libtorch for CMake" \
      "remove .venv and run this again, or set Torch_DIR to an unpacked libtorch."
}

setup_torch_wheel() {
  local remedy="see pip's message above. On a machine without an NVIDIA GPU set \
MAKEMOE_TORCH_INDEX to the index of PyTorch's CPU wheels (PyTorch's installation page names it) \
and run this again; or set Torch_DIR to an unpacked libtorch."
  local -a index=()
  if [[ -n "${MAKEMOE_TORCH_INDEX:-}" ]]; then
    index=(--index-url "$MAKEMOE_TORCH_INDEX")
  elif ! setup_has_gpu; then
    # The CPU build where one of pip's configured indexes has it; the general wheel otherwise.
    setup_say "no NVIDIA GPU: trying the CPU build of torch $MAKEMOE_TORCH_VERSION"
    if "$MAKEMOE_ROOT/.venv/bin/python" -m pip install --disable-pip-version-check --quiet \
      "torch==$MAKEMOE_TORCH_VERSION+cpu" </dev/null >/dev/null 2>&1; then
      return 0
    fi
    setup_say "pip knows no CPU build; taking the general wheel (gigabytes on some machines)." \
      "MAKEMOE_TORCH_INDEX may name the index of PyTorch's CPU wheels instead."
  fi
  setup_pip "torch $MAKEMOE_TORCH_VERSION" "$remedy" ${index[@]+"${index[@]}"} \
    "torch==$MAKEMOE_TORCH_VERSION"
}

# A libtorch with CUDA wants the CUDA toolkit when CMake configures: say so before CMake does.
setup_warn_cuda() {
  local root="${Torch_DIR%/share/cmake/Torch}"
  if compgen -G "$root/lib/libtorch_cuda*" >/dev/null && ! command -v nvcc >/dev/null &&
    [[ ! -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]]; then
    setup_say "this libtorch is a CUDA build and no CUDA toolkit (nvcc) was found. If CMake fails" \
      "on that: install the toolkit, or remove .venv, set MAKEMOE_TORCH_INDEX to the index of" \
      "PyTorch's CPU wheels (PyTorch's installation page names it) and run this again."
  fi
}

# The tests' Python: .venv where it exists, else the active one. It wants numpy and safetensors.
setup_python() {
  local check='import numpy, safetensors'
  local python="$MAKEMOE_ROOT/.venv/bin/python" site
  if [[ ! -x "$python" ]] && python3 -c "$check, torch" >/dev/null 2>&1; then
    return 0
  fi
  setup_venv
  "$python" -c "$check" >/dev/null 2>&1 ||
    setup_pip "numpy and safetensors" "see pip's message above; the network may be missing." \
      numpy safetensors
  # Where torch is the active Python's, .venv sees it too: tests compare with PyTorch.
  if ! "$python" -c 'import torch' >/dev/null 2>&1 && python3 -c 'import torch' >/dev/null 2>&1; then
    site="$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    python3 -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' \
      >"$site/makemoe_active_torch.pth"
  fi
}

setup_all() {
  setup_system
  setup_cmake
  setup_torch
  setup_warn_cuda
  setup_python
  setup_say "done"
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  set -euo pipefail
  setup_all
fi
