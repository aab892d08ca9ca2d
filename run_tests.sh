#!/usr/bin/env bash
# The tests, then the smoke profile through every notebook.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$here"
"$python" -m ruff check .
"$python" -m ruff format --check .
# two workers, each with whole files; the longest of them is sorted to the front by tests/conftest.py
exec "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
