#!/usr/bin/env bash
# Makes .venv from requirements.lock with the distribution's Python; a stamp says which lock it was made from.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-/usr/bin/python3}
uv_version=0.13.9
stamp=.venv/stamp-$(cat requirements.lock pyproject.toml scripts/environment.sh | sha256sum | cut -c1-16)
[ -e "$stamp" ] && exit 0

rm -rf .venv
"$python" -m venv .venv
.venv/bin/pip install --quiet "uv==$uv_version"
.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes -r requirements.lock
.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --no-deps --no-build-isolation -e .
touch "$stamp"
