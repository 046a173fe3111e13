#!/usr/bin/env bash
# Make a virtual environment with the pinned torch and the four packages, editable. Usage: PYTHON=python3.12 tools/setup.sh .venv
set -euo pipefail

venv=$1
fail() { echo "setup: $*" >&2; exit 2; }

[ -n "${PYTHON:-}" ] || fail "no Python 3.11 or 3.12 found; install one (Debian, Ubuntu: apt install python3 python3-venv) or run make PYTHON=/path/to/python3.12"
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
    || fail "$PYTHON is $("$PYTHON" --version 2>&1); FVQ needs Python 3.11 or 3.12, run make PYTHON=/path/to/python3.12"

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "setup: making $venv with $("$PYTHON" --version)"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null \
        || fail "this Python has no venv; on Debian or Ubuntu: apt install python3-venv"
    "$PYTHON" -m venv "$venv" || fail "could not make $venv; on Debian or Ubuntu: apt install python3-venv"
fi

pip=("$venv/bin/python" -m pip --disable-pip-version-check)
echo "setup: installing torch (about 3 GB with its GPU libraries, once) and the packages"
"${pip[@]}" install --quiet --constraint constraints.txt torch torchvision
"${pip[@]}" install --quiet --constraint constraints.txt --requirement requirements-dev.txt \
    --editable 'packages/fvq-core[photos]' --editable packages/fvq-quantizers \
    --editable packages/fvq-generators --editable packages/fvq-eval

# mmengine asks for opencv-python, whose windows need libGL; the headless build has the same module and needs nothing.
if ! error=$("$venv/bin/python" -c 'import cv2' 2>&1); then
    echo "setup: OpenCV cannot be imported here (${error##*: }); putting the headless build in its place"
    "${pip[@]}" uninstall --quiet --yes opencv-python opencv-python-headless
    "${pip[@]}" install --quiet --no-deps --constraint constraints.txt opencv-python-headless
    "$venv/bin/python" -c 'import cv2' \
        || fail "OpenCV still cannot be imported; on Debian or Ubuntu: apt install libgl1 libglib2.0-0"
fi
echo "setup: done"
