#!/usr/bin/env bash
# Make a virtual environment with torch, the packages (editable) and the tools, at the versions of constraints.txt.
# Usage: PYTHON=python3.12 [EXTRAS=all] [CONSTRAINTS=requirements-dev.txt] tools/setup.sh .venv; EXTRAS adds that extra of the
# package fvq, these CONSTRAINTS take the newest of all but torch.
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

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
# mmengine-lite has the files of mmengine: beside it, either one's removal would break the other.
pip show --quiet mmengine 2>/dev/null && fail "$venv has mmengine, whose place mmengine-lite takes; remove it with make clean"

# The environment variables, unlike --constraint, also hold for what builds the few packages that come as source.
PIP_CONSTRAINT=$(realpath "${CONSTRAINTS:-constraints.txt}")
export PIP_CONSTRAINT PIP_BUILD_CONSTRAINT=$PIP_CONSTRAINT UV_CONSTRAINT=$PIP_CONSTRAINT UV_BUILD_CONSTRAINT=$PIP_CONSTRAINT
# uv takes a quarter of pip's time. It reads no pip.conf, so where a mirror is set up there, pip has its turn.
install() {
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "$@" \
        || { echo "setup: uv did not succeed, trying pip"; pip install --quiet "$@"; }
}

echo "setup: installing torch (about 3 GB with its GPU libraries, once), the packages and the tools"
pip install --quiet uv
install torch torchvision
packages=('fvq-core[train,photos]' 'fvq-quantizers[flax]' 'fvq-generators[captions]' fvq-eval)
requirements=(--requirement requirements-dev.txt)
packages+=("fvq${EXTRAS:+[$EXTRAS]}")
[ "${EXTRAS:-}" != all ] || requirements+=(--requirement requirements-extras.txt)
# All at once, because each asks for the others at the version of this commit.
install "${requirements[@]}" $(printf -- '--editable packages/%s ' "${packages[@]}")
echo "setup: done"
