#!/usr/bin/env bash
# The tests, then the smoke profile through every notebook.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$here"
"$python" -m ruff check .
"$python" -m ruff format --check .
exec "$python" -m pytest "$@"
