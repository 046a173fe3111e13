#!/usr/bin/env bash
# Install the wheels of a folder, and nothing else of this clone, into fresh environments, and use them there as a stranger would.
# Usage: tools/test_wheels.sh dist UV [PYTHON ...]; PYTHONs default to python3.11 and python3.12, and one that is not here is named.
# Needs the package index; torch comes from uv's cache if it is there. About 3 minutes an environment on 2 cores.
set -euo pipefail

dist=$(realpath "$1") uv=$2
shift 2
root=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d)/'a folder'
trap 'rm -rf "${work%/*}"' EXIT
mkdir "$work"
cd "$work" # nothing of the clone is importable from here
unset PYTHONPATH VIRTUAL_ENV
version=$(basename "$dist"/fvq-*-py3-none-any.whl) && version=${version#fvq-} && version=${version%-py3-none-any.whl}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" FVQ_DEVICE=cpu

install() { # install PYTHON NAME EXTRA CONSTRAINTS
    echo "== $2, $("$1" --version)"
    "$uv" venv --quiet --python "$1" "$work/$2"
    bin="$work/$2/bin"
    VIRTUAL_ENV="$work/$2" "$uv" pip install --quiet --find-links "$dist" "fvq[$3]==$version" pip -c "$root/$4"
    "$bin/python" -m pip --disable-pip-version-check check
}

use() { # with what `install` made
    "$bin/python" - "$dist" <<'END'
import sys
from importlib.metadata import distribution
from pathlib import Path

for name in ('fvq', 'fvq-core', 'fvq-quantizers', 'fvq-generators', 'fvq-eval'):
    found = distribution(name)
    assert list(Path(sys.argv[1]).glob(f'{name.replace("-", "_")}-{found.version}-*.whl')), f'{name} {found.version} is of no wheel'
    assert found.read_text('direct_url.json') is None or 'editable' not in found.read_text('direct_url.json')
END
    "$bin/fvq" --version
    "$bin/fvq" doctor || [ $? -eq 1 ]
    "$bin/fvq" zoo fvq/fvq_photos
    "$bin/fvq" train configs/fvq/fvq_photos.py --smoke --work-dir "$work/smoke"
    "$bin/python" - <<'END'
import torch
from fvq_core.tokenizer import Tokenizer
from fvq_core.zoo import create_model

create_model('fvq_photos').eval().fold().save_pretrained('my tokenizer')
tokenizer = Tokenizer.from_pretrained('my tokenizer')
with torch.inference_mode():
    codes = tokenizer.encode(torch.rand(1, 3, 32, 48) * 2 - 1)
    assert tokenizer.decode(codes).shape == (1, 3, 32, 48)
print('my tokenizer: saved, loaded, encoded and decoded')
END
    rm -rf "$work"/*
}

[ $# -gt 0 ] || set -- python3.11 python3.12
for python; do
    if ! "$python" -c '' 2>/dev/null; then
        echo "test-wheels: $python is not here: not tested"
        continue
    fi
    install "$python" newest train requirements-dev.txt # the newest of all but torch
    use
    install "$python" locked train constraints.txt
    use
    last=$python
done
install "${last:?no Python to test with}" everything all constraints.txt # beside torch 2.11
"$bin/fvq" doctor
echo 'test-wheels: done'
