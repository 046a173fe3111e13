"""The script of the docs loads every format where FVQ cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fvq.commands import export
from fvq_core.data.photos import load_photos
from fvq_core.images import from_uint8, to_uint8
from tests.tiny import tiny_tokenizer

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(os.environ.get('FVQ_LONG') != '1', reason='FVQ_LONG=1 exports, and loads in another process'),
]
SCRIPT = Path(__file__).parents[2] / 'docs/load_exports.py'
# A module that is None cannot be imported.
WITHOUT_FVQ = """
import runpy, sys
for name in ('fvq', 'fvq_core', 'fvq_quantizers', 'fvq_generators', 'fvq_eval'):
    sys.modules[name] = None
path = sys.argv[1]
sys.argv = sys.argv[1:]
runpy.run_path(path, run_name='__main__')
"""


@pytest.mark.parametrize(('form', 'needed'), [('torch', 'torch'), ('onnx', 'onnxscript'), ('diffusers', 'diffusers')])
def test_the_script_of_the_docs_needs_no_fvq(
    form: str, needed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(needed)
    torch.manual_seed(0)
    quantizer: Any = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)
    tokenizer = tiny_tokenizer(quantizer).fold()
    tokenizer.save_pretrained(tmp_path / 'tokenizer')
    photo = load_photos()['chelsea'][:64, :96]
    Image.fromarray(photo).save(tmp_path / 'cat.png')
    assert export.main([str(tmp_path / 'tokenizer'), str(tmp_path / 'out'), '--format', form]) == 0
    assert '60 crops: 0.000 %' in capsys.readouterr().out
    arguments = [str(SCRIPT), form, 'out', 'cat.png', 'rebuilt.png']
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT_FVQ, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'codes (1, 32, 48) int64' in done.stdout
    images = from_uint8(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None])
    with torch.no_grad():
        ours = to_uint8(tokenizer.decode(tokenizer.encode(images)))[0].permute(1, 2, 0)
    with Image.open(tmp_path / 'rebuilt.png') as image:
        assert np.abs(np.asarray(image).astype(int) - ours.numpy()).max() <= 1
