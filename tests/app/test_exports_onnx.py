"""ONNX models, run by onnxruntime."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fvq.exports.formats import export_graphs
from fvq_core.registry import TOKENIZERS
from tests.quantizers.matrix import VARIANTS
from tests.tiny import random_images, tiny_tokenizer, tokenizer_config

from .test_exports_torch import matrix

onnxruntime = pytest.importorskip('onnxruntime')
onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxscript')

VQ = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)
long = pytest.mark.skipif(os.environ.get('FVQ_LONG') != '1', reason='FVQ_LONG=1 exports every kind')
NAMES = [name for name in matrix() if name not in VARIANTS]


def test_onnxruntime_gives_the_same_codes_and_pixels(tmp_path: Path) -> None:
    config = tokenizer_config(VQ)
    attentive = {half: dict(config[half], attention=True) for half in ('encoder', 'decoder')}
    tokenizer = TOKENIZERS.build(config | attentive).eval()
    found = export_graphs(tokenizer, tmp_path / 'out', 'onnx')
    assert found.problem() is None
    encode, decode = (onnxruntime.InferenceSession(tmp_path / f'out/{name}.onnx') for name in ('encode', 'decode'))
    images = random_images(1, 20, 12)
    (codes,) = encode.run(['codes'], {'images': images.numpy()})
    (pixels,) = decode.run(['images'], {'codes': codes})
    with torch.no_grad():
        ours = tokenizer.encode(images)
        np.testing.assert_array_equal(codes, ours.unflatten())
        np.testing.assert_allclose(pixels, tokenizer.decode(ours), atol=1e-4)
    for name in ('encode', 'decode'):
        model = onnx.load(tmp_path / f'out/{name}.onnx')
        assert json.loads({each.key: each.value for each in model.metadata_props}['fvq'])['compared'] == found.facts()
        model.ClearField('metadata_props')
        data = model.SerializeToString()
        assert b'fvq' not in data  # no module or class of ours
        assert str(Path(__file__).parents[2]).encode() not in data


def test_half_precision_tells_its_share_of_other_codes(tmp_path: Path) -> None:
    found = export_graphs(tiny_tokenizer(VQ).fold(), tmp_path / 'out', 'onnx', half=True, allow=True)
    facts = json.loads((tmp_path / 'out/export.json').read_text())
    assert facts['computes_in'] == 'float16'
    assert facts['compared']['different'] == found.different
    assert found.pixels > 1e-5  # it did compute in float16
    sizes = [path.stat().st_size for path in (tmp_path / 'out').glob('*.onnx')]
    assert sum(sizes) < 1.5 * 2 * sum(each.numel() for each in tiny_tokenizer(VQ).parameters()) + 100_000


@long
@pytest.mark.parametrize('name', NAMES)
def test_every_kind_runs_in_onnxruntime(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    autoencoder = TOKENIZERS.build(matrix()[name]).eval().fold()
    fixed = any(part in name for part in ('itok', 'gigatok', 'xqgan', 'MultiScaleQuantizer'))
    found = export_graphs(autoencoder, tmp_path / 'out', 'onnx', (16, 24) if fixed else None)
    assert found.problem() is None, found.sentence()
