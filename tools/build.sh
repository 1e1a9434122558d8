#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds a preset: `tools/build.sh PRESET [cmake --build arguments]`. Configures only the first
# time; the build itself notices changed and new files.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
if [ ! -f "build/$preset/build.ninja" ]; then cmake --preset "$preset"; fi
cmake --build --preset "$preset" "$@"
