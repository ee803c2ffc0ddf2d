#!/bin/sh
# Creates $VENV and installs the project into it, with uv where it is there, else with venv and pip.
set -eu
lock="-r requirements.lock"
tag=$("$PYTHON" -c 'import platform, sys; print(sys.implementation.name, *sys.version_info[:2], sys.platform, platform.machine())')
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "tubeflow needs Python 3.11 or newer, $PYTHON is $("$PYTHON" -V 2>&1): name another with make PYTHON=python3.11" >&2
    exit 2
}
if [ "$tag" != "cpython 3 11 linux x86_64" ]; then
    lock=""
fi
if command -v uv >/dev/null 2>&1; then
    [ -x "$VENV/bin/python" ] || uv venv --python "$PYTHON" "$VENV"
    # shellcheck disable=SC2086
    uv pip install --quiet --python "$VENV/bin/python" $lock --editable '.[dev]'
else
    [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
    # shellcheck disable=SC2086
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check $lock --editable '.[dev]'
fi
