#!/usr/bin/env bash
# Install the plugin with its test tools into .venv (first run only), then check style, types, the direction of imports and behaviour.
# Arguments go to pytest: bash scripts/test.sh tests/archs -x. Without any, all tests run, on up to four cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"
arguments=()
for argument in "$@"; do  # paths are given relative to where the caller stands
    if [ -e "$argument" ]; then argument="$(cd "$(dirname "$argument")" && pwd)/$(basename "$argument")"; fi
    arguments+=("$argument")
done
cd "$_repository"
install_plugin test
"$VENV_PYTHON" -m ruff check .
"$VENV_PYTHON" -m ruff format --check .
"$VENV_PYTHON" -m mypy
"$(dirname "$VENV_PYTHON")/lint-imports"
[ $# -gt 0 ] || arguments=(--numprocesses logical --maxprocesses 4 --dist loadfile)  # a file's tests share what they train
exec "$VENV_PYTHON" -m pytest ${arguments[@]+"${arguments[@]}"}
