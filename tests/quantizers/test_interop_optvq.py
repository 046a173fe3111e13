"""The importers of OptVQ's, IBQ's and Open-MAGVIT2's files: weights under a peer's keys give the same tokenizer back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_generators.fingerprint import tokenizer_hash
from tests.tiny import build_from_peer

from ..tiny import random_images
from .test_interop import assert_same_tokenizer, taming_state, tokenizer

TRANSPORT = dict(
    type='VectorQuantizer',
    codebook_size=16,
    code_dim=4,
    projector=dict(type='LinearProjector'),
    distance=dict(type='OptimalTransport', at_inference=True),
)
HEADS = dict(type='ProductQuantizer', quantizer=TRANSPORT, groups=2, shared=True)


def optvq_state(ours: Tokenizer) -> dict[str, Tensor]:
    """The keys of OptVQ's trainer; those on the hub start with `model.`, and losses are beside them in both."""
    quantizer = ours.quantizer.quantizer
    return taming_state(ours) | {
        'quantize.embedding.weight': quantizer.embedding.detach(),
        'quantize.proj.weight': quantizer.projector.map.weight.detach(),
        'quantize.proj.bias': quantizer.projector.map.bias.detach(),
        'loss.discriminator.main.0.weight': torch.zeros(2, 3, 4, 4),
    }


@pytest.mark.parametrize('quant_kernel', [1, 0])
def test_heads_of_optvq_are_read_off_the_shapes(quant_kernel: int):
    ours = tokenizer(HEADS, quant_kernel=quant_kernel)
    imported = build_from_peer('optvq', optvq_state(ours), transport=True)
    assert_same_tokenizer(ours, imported)
    assert imported.quantizer.groups == 2


def test_a_file_of_the_hub_gets_nearest_codes_unless_told_and_the_card_tells(tmp_path: Path):
    ours = tokenizer(HEADS)
    torch.save({f'model.{key}': value for key, value in optvq_state(ours).items()}, tmp_path / 'optvq.bin')
    assert convert.main(['optvq', str(tmp_path / 'optvq.bin'), str(tmp_path / 'nearest')]) == 0
    assert convert.main(['optvq', str(tmp_path / 'optvq.bin'), str(tmp_path / 'transport'), '--transport']) == 0
    nearest, transport = (Tokenizer.from_pretrained(tmp_path / name) for name in ('nearest', 'transport'))
    images = random_images(4, 16, 16)
    codes = nearest.encode(images).indices_BL
    assert torch.equal(nearest.encode(images[:1]).indices_BL, codes[:1])
    assert torch.equal(transport.encode(images).indices_BL, ours.encode(images).indices_BL)
    assert not torch.equal(transport.encode(images).indices_BL, codes)
    assert tokenizer_hash(nearest) != tokenizer_hash(transport)
    told = {
        name: 'depend on its batch' in (tmp_path / name / 'README.md').read_text() for name in ('nearest', 'transport')
    }
    assert told == dict(nearest=False, transport=True)


def test_one_head_and_a_plain_codebook_of_optvq():
    ours = tokenizer(dict(type='VectorQuantizer', codebook_size=16, code_dim=8))
    state = taming_state(ours) | {'quantize.embedding.weight': ours.quantizer.embedding.detach()}
    assert_same_tokenizer(ours, build_from_peer('optvq', state))


def test_codes_that_do_not_divide_the_latent_are_refused():
    state = optvq_state(tokenizer(HEADS)) | {'quantize.embedding.weight': torch.randn(16, 3)}
    with pytest.raises(UserError, match='a latent of 8 channels is not a multiple of codes of 3'):
        build_from_peer('optvq', state)


def test_ibq_chooses_by_dot_product():
    ours = tokenizer(dict(type='VectorQuantizer', codebook_size=16, code_dim=8, distance=dict(type='DotProduct')))
    state = taming_state(ours) | {'quantize.embedding.weight': ours.quantizer.embedding.detach()}
    lightning = {'state_dict': {**state, 'loss.discriminator.x': torch.zeros(2), 'model_ema.decay': torch.ones(())}}
    imported = build_from_peer('ibq', lightning)
    assert_same_tokenizer(ours, imported)
    assert set(imported.train()(random_images(height=16, width=16)).losses) == {
        'double',
        'commitment',
        'codebook',
        'entropy',
    }


def magvit2(**changes: Any) -> Tokenizer:
    half = dict(ch=32, ch_mult=[1, 1, 2], num_res_blocks=2, z_channels=6)
    built: Tokenizer = TOKENIZERS.build(
        dict(
            type='Tokenizer',
            encoder=dict(type='MAGVIT2Encoder', **half),
            quantizer=dict(type='LFQ', codebook_size=64),
            decoder=dict(type='AdaptiveGroupNormDecoder', **half),
            quant_kernel=0,
        )
    )
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return built.eval()


def magvit2_state(ours: Tokenizer) -> dict[str, Tensor]:
    """Open-MAGVIT2's keys, and its channels before depth becomes space, which are (row, column, channel)."""
    found, last, blocks = {}, len(ours.decoder.levels) - 1, len(ours.encoder.mid)
    for key, value in ours.state_dict().items():
        if re.search(rf'decoder\.levels\.\d\.{blocks}\.', key):
            value = value.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)
        theirs = re.sub(rf'encoder\.levels\.(\d)\.{blocks}\.', r'encoder.down.\1.downsample.', key)
        theirs = re.sub(rf'(decoder\.levels\.\d)\.{blocks}\.conv\.', r'\1.upsample.conv1.', theirs)
        theirs = re.sub(r'\.levels\.(\d)\.(\d)\.', r'.levels.\1.block.\2.', theirs)
        theirs = re.sub(r'encoder\.levels\.(\d)', r'encoder.down.\1', theirs)
        theirs = re.sub(r'decoder\.levels\.(\d)', lambda m: f'decoder.up.{last - int(m[1])}', theirs)
        theirs = re.sub(r'decoder\.adaptive\.(\d)', lambda m: f'decoder.adaptive.{last - int(m[1])}', theirs)
        theirs = theirs.replace('.mid.', '.mid_block.').replace('.shortcut.', '.nin_shortcut.')
        found[re.sub(r'^(decoder\.adaptive\.\d)\.shift', r'\1.beta', theirs).replace('.scale.', '.gamma.')] = value
    return found


def test_open_magvit2_in_a_file_of_lightning_with_its_average():
    ours, raw = magvit2(), magvit2()
    state, average = magvit2_state(raw), magvit2_state(ours)
    state |= {f'model_ema.{key.replace(".", "")}': value for key, value in average.items()}
    imported = build_from_peer('open-magvit2', {'state_dict': state | {'loss.perceptual_loss.x': torch.zeros(2)}})
    assert_same_tokenizer(ours, imported)
    assert imported.quantizer.codebook_size == 64


@pytest.mark.parametrize('peer', ['optvq', 'ibq', 'open-magvit2'])
def test_files_of_others_are_refused(peer: str):
    state = taming_state(tokenizer(dict(type='VectorQuantizer', codebook_size=16, code_dim=8)))
    with pytest.raises(UserError, match=r'so no codebook|not Open-MAGVIT2'):
        build_from_peer(peer, state)
