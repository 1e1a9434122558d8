#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Installs what this machine lacks, for ./run (`tools/setup.sh run`), ./run --train (`... train`) or
# ./test (`... test`). Does nothing, or nearly so, where nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

build_packages=(g++ cmake ninja-build nlohmann-json3-dev libcli11-dev libgtest-dev
                libboost-context-dev)
test_packages=(clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev g++-aarch64-linux-gnu
               qemu-user googletest universal-ctags pkg-config binutils git)

missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
      echo "$package"
  done
}

install_packages() {
  local sudo=()
  if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
  echo "installing: $*"
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" \
    >build/apt.log || { tail -n 20 build/apt.log >&2; return 1; }
}

ensure_packages() {
  if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian machine: assuming that these are here in some form: $*"
    return
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if [ "${#missing[@]}" != 0 ]; then install_packages "${missing[@]}"; fi
}

# NVIDIA's run-time compiler for ./run: the wheels that tests/requirements.txt pins, where ./test
# has not put them already. Without them rapt computes on the CPU, so a failure is only a warning.
ensure_nvrtc() {
  if compgen -G 'build/venv/lib/python3*/site-packages/nvidia/*/lib/libnvrtc.so.*' >/dev/null; then
    return
  fi
  local wheels
  mapfile -t wheels < <(grep '^nvidia-cuda-nvrtc' tests/requirements.txt)
  echo "installing into build/venv (180 MB, once; NVIDIA's licence): ${wheels[*]}"
  { python3 -c 'import ensurepip, venv' 2>/dev/null || ensure_packages python3-venv; } &&
    { [ -x build/venv/bin/python ] || python3 -m venv build/venv; } &&
    build/venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 \
      --timeout 15 "${wheels[@]}" || echo "warning: NVRTC could not be installed; going on" >&2
}

# torch and NumPy for ./run --train, as tests/requirements.txt pins them, where ./test has not put
# them already.
ensure_torch() {
  if build/venv/bin/python -c 'import numpy, torch' 2>/dev/null; then return; fi
  local wheels
  mapfile -t wheels < <(grep -E '^(numpy|torch)=' tests/requirements.txt)
  python3 -c 'import ensurepip, venv' 2>/dev/null || ensure_packages python3-venv
  echo "installing into build/venv: ${wheels[*]}"
  [ -x build/venv/bin/python ] || python3 -m venv build/venv
  build/venv/bin/python -m pip install --quiet --disable-pip-version-check "${wheels[@]}"
}

# The Python of ./test: its own environment, remade when the list of requirements changes.
ensure_venv() {
  local requirements=tests/requirements.txt
  if cmp -s "$requirements" build/venv/requirements.txt; then return; fi
  python3 -c 'import ensurepip, venv' 2>/dev/null || ensure_packages python3-venv
  echo "installing into build/venv: $(grep -v '^#' "$requirements" | tr '\n' ' ')"
  rm -rf build/venv
  python3 -m venv build/venv
  build/venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
  cp "$requirements" build/venv/requirements.txt
}

mkdir -p build
case "${1:-}" in
  run) ensure_packages "${build_packages[@]}"; ensure_nvrtc ;;
  train) ensure_packages "${build_packages[@]}"; ensure_torch ;;
  test) ensure_packages "${build_packages[@]}" "${test_packages[@]}"; ensure_venv ;;
  *) echo "usage: tools/setup.sh run | train | test" >&2; exit 2 ;;
esac
