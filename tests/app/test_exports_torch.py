"""Programs of torch.export: every tokenizer as plain operators, for any batch and any sides."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq.exports.compare import BATCH, compare
from fvq.exports.formats import export_graphs
from fvq.exports.graphs import Sizes
from fvq.exports.programs import HALVES, export_programs, plain_search
from fvq_core.nearest_code import nearest_code
from fvq_core.registry import QUANTIZERS, TOKENIZERS
from tests.core.autoencoder_matrix import tokenizers
from tests.quantizers.matrix import TINY_QUANTIZERS, VARIANTS, K
from tests.tiny import kl_config, random_images, tiny_tokenizer, titok_kl_config, tokenizer_config

VQ = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)
long = pytest.mark.skipif(os.environ.get('FVQ_LONG') != '1', reason='FVQ_LONG=1 exports every kind')


def matrix() -> dict[str, dict[str, Any]]:
    """Every registered encoder, decoder and quantizer, and continuous autoencoders, at tiny sizes."""
    found = dict(tokenizers(16, 24))
    quantizers = {name: {'type': name, **options} for name, options in TINY_QUANTIZERS.items()} | VARIANTS
    found |= {name: tokenizer_config(config) for name, config in quantizers.items()}
    return found | {'KLAutoencoder': kl_config(), 'TiTok, continuous': titok_kl_config()}


class InMemory:
    """Programs that were not written."""

    def __init__(self, programs: dict[str, Any]) -> None:
        self.modules = {name: programs[name].module() for name in HALVES}

    def encode(self, images: Tensor) -> Tensor:
        return self.modules['encode'](images)

    def decode(self, given: Tensor) -> Tensor:
        return self.modules['decode'](given)


def test_the_matrix_has_every_quantizer() -> None:
    built = {QUANTIZERS.get(config['quantizer']['type']) for config in matrix().values() if 'quantizer' in config}
    assert {QUANTIZERS.get(name) for name in QUANTIZERS.names()} <= built


@long
@pytest.mark.parametrize('name', matrix())
def test_programs_of_plain_operators_give_the_same_codes_and_pixels(name: str) -> None:
    torch.manual_seed(0)
    autoencoder = TOKENIZERS.build(matrix()[name]).eval().fold()
    fixed = any(part in name for part in ('itok', 'gigatok', 'xqgan', 'flat', 'MultiScaleQuantizer'))
    sizes = Sizes.of(autoencoder, (16, 24) if fixed else None)
    programs = export_programs(autoencoder, sizes)
    for program in programs.values():
        assert all(str(node.target).split('.')[0] != 'fvq' for node in program.graph.nodes)
    found = compare(autoencoder, InMemory(programs), sizes, crop_count=3 * BATCH)
    assert found.problem() is None, found.sentence()
    assert found.crops == 3 * BATCH


def test_a_folder_is_loaded_without_our_code_and_tells_what_was_compared(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(VQ).fold()
    found = export_graphs(tokenizer, tmp_path / 'out', 'torch')
    assert {path.name for path in tmp_path.rglob('*')} == {'out', 'encode.pt2', 'decode.pt2', 'export.json'}
    facts = json.loads((tmp_path / 'out/export.json').read_text())
    assert facts['compared'] == found.facts()
    assert (facts['compared']['crops'], facts['sides_multiple_of'], facts['fixed_size']) == (60, 2, None)
    extra: dict[str, Any] = {'fvq.json': ''}
    program = torch.export.load(tmp_path / 'out/encode.pt2', extra_files=extra)
    assert json.loads(extra['fvq.json']) == facts
    images = random_images(1, 20, 12)
    assert torch.equal(program.module()(images), tokenizer.encode(images).unflatten())
    with zipfile.ZipFile(tmp_path / 'out/encode.pt2') as archive:
        named = [name for name in archive.namelist() if b'fvq' in archive.read(name)]
        assert [name.split('/')[-1] for name in named] == ['fvq.json']  # no path, module or class of ours elsewhere
        assert not any(str(Path(__file__).parents[2]).encode() in archive.read(name) for name in archive.namelist())
    assert sum(len(v.shape) > 0 and v.numel() for v in program.state_dict.values()) < 1.1 * sum(
        parameter.numel()
        for part in (tokenizer.encoder, tokenizer.quantizer, tokenizer.pre_quant)
        for parameter in part.parameters()
    )  # the decoder's weights are not in it


@pytest.mark.parametrize('distance', ['l2', 'dot'])
def test_the_plain_search_finds_the_same_codes(distance: Any) -> None:
    torch.manual_seed(0)
    codes = torch.randn(K, 5) + 3  # far from zero, where rounding is large
    z = torch.randn(200, 5) + 3
    assert torch.equal(plain_search(z, codes, distance, None), nearest_code(z, codes, distance))
    assert plain_search(codes[:1], codes[[0, 0, 1]], 'l2', None).tolist() == [0]  # the first of equal ones


def test_the_plain_search_tells_codes_apart_that_are_much_nearer_to_each_other_than_to_the_mean() -> None:
    """As a trained tokenizer's are: the product's rounding is larger than the difference of the two distances."""
    torch.manual_seed(0)
    one = torch.randn(32, 64)
    other = one + 0.03 * torch.randn(32, 64)
    share = torch.linspace(0.499, 0.501, 50)[:, None, None]
    z, codes = torch.lerp(one, other, share).flatten(0, 1), torch.cat([one, other])
    exact = torch.cdist(z.double(), codes.double()).argmin(1)
    assert torch.equal(plain_search(z, codes, 'l2', None), exact)
    centred = codes - codes.mean(0)
    scores = (z - codes.mean(0)) @ centred.t() - 0.5 * centred.square().sum(1)
    assert (scores.argmax(1) != exact).float().mean() > 0.01
