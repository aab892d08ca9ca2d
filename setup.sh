# Sourced by run_all.sh and run_tests.sh: sets $python to an interpreter that has everything.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} # this folder's temlib, though the environment may know another's

# An active environment that has the packages is used as it is; otherwise .venv is made here.

has_packages() {
    "$1" - "$here/pyproject.toml" <<'PY' 2>/dev/null
import re, sys, tomllib
from importlib import metadata
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
needed = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
for requirement in needed + [project["name"]]:
    metadata.version(re.match(r"[\w.-]+", requirement)[0])
PY
}

if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && has_packages "$(command -v python)"; then
    python=$(command -v python)
else
    python=$here/.venv/bin/python
    stamp=$here/.venv/installed
    wanted=$((echo "$here"; cat "$here/requirements.lock" "$here/pyproject.toml") | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        base=
        for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
            if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
                base=$(command -v "$candidate")
                break
            fi
        done
        if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "error: Python 3.11 or newer with venv is needed, found ${base:-none}: install it and start again." >&2
            exit 2
        fi
        echo "Setting up .venv (about half a minute, 7 GB on disk) ..."
        "$base" -m venv "$here/.venv"
        "$python" -m pip install --quiet --disable-pip-version-check uv
        "$here/.venv/bin/uv" pip install --quiet --python "$python" --require-hashes -r "$here/requirements.lock"
        "$here/.venv/bin/uv" pip install --quiet --python "$python" --no-deps --editable "$here"
        echo "$wanted" > "$stamp"
    fi
fi
