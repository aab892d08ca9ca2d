#!/usr/bin/env bash
# Every table and figure:  ./run_all.sh [smoke|laptop|paper|study|your own of params/] [--from NN] [--only NN] [--publish]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec "$python" -m temlib.run "$@"
