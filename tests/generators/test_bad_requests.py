"""What each generator refuses, in one line that names what it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fvq_core.codes import CodeLayout, Codes, Grid, LatentLayout, Pyramid
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.registry import GENERATORS
from fvq_generators import LlamaGen
from fvq_generators.binding import bind_checked
from fvq_generators.image_generator import ImageGenerator
from tests.tiny import FVQ, tiny_tokenizer

from .tiny import GRID, generator_config

SIZE: dict[str, Any] = dict(dim=32, depth=2, heads=4, num_classes=5)
SCALES: dict[str, Any] = dict(type='Pyramid', scales=[(1, 1), (2, 2)], codebook_size=32)
STACKS: dict[str, Any] = {**GRID, 'codebook_size': [32, 32]}
BITS: dict[str, Any] = {**SCALES, 'codebook_size': [2] * 4}
LATENTS = LatentLayout(Grid(3, 4), 4)
BERT: dict[str, Any] = dict(type='BERT', dim=32, depth=2, heads=4)
MODELS: dict[str, dict[str, Any]] = {
    'LlamaGen': SIZE,
    'RandAR': SIZE,
    'RAR': SIZE,
    'MinGPT': SIZE,
    'ViTVQTransformer': SIZE,
    'IBQTransformer': SIZE,
    'OpenMAGVIT2Transformer': dict(factors=(8, 4), inner_depth=1, **SIZE),
    'BAR': dict(head_width=16, head_depth=1, **SIZE),
    'MaskGIT': dict(network=BERT, num_classes=5),
    'RQTransformer': dict(layout=STACKS, code_dim=8, head_depth=1, **SIZE),
    'VAR': dict(layout=SCALES, code_dim=8, **SIZE),
    'Infinity': dict(layout=BITS, **SIZE),
    'RCG': dict(
        representation=dict(type='RepresentationDiffusion', dim=16, width=16, depth=1, num_classes=5),
        mage=dict(type='MAGE', dim=16, depth=1, heads=2, decoder_depth=1),
    ),
}
# Of latents, and of representations: see test_diffusion.py and test_rcg.py.
ELSEWHERE = {'Cascade', 'DiT', 'LargeDiT', 'MAR', 'MAGE', 'RepresentationDiffusion', 'UNetDiffusion'}
OF_SCALES = ('VAR', 'Infinity')
# Settings that only these have.
OWN = {
    'more_smooth': {'VAR'},
    'random_start': {'MaskGIT', 'RCG'},
    'rows': {'MinGPT'},
    'second_cfg_scale': {'OpenMAGVIT2Transformer'},
}


def build(name: str, **changes: Any) -> Generator:
    torch.manual_seed(0)
    return GENERATORS.build({'type': name, 'layout': GRID, **MODELS[name], **changes}).eval()


def refused(message: str, call: Any, *arguments: Any, **options: Any) -> None:
    """The call raises a UserError of one line with this in it."""
    with pytest.raises(UserError) as raised:
        call(*arguments, **options)
    assert message in str(raised.value)
    assert '\n' not in str(raised.value)


def test_every_registered_generator_is_asked():
    ours = {name for name, found in GENERATORS.known().items() if found.__module__.startswith('fvq_generators.')}
    assert ours == {*MODELS, *ELSEWHERE}


@pytest.mark.parametrize('name', MODELS)
def test_a_layout_that_it_cannot_take_is_named_with_those_that_it_can(name: str):
    takes = 'a Pyramid' if name in OF_SCALES else 'a Grid or Sequence'
    refused(f'{name} takes {takes}', build, name, layout=GRID if name in OF_SCALES else SCALES)
    refused(f'{name} takes codes, of {takes}, got LatentLayout', build, name, layout=LATENTS)
    refused(
        "unknown code layout {'type': 'Hexagons'}; known: Grid, Sequence", build, name, layout=dict(type='Hexagons')
    )
    if name not in ('RQTransformer', 'Infinity'):
        refused('with one code a position', build, name, layout=STACKS)


@pytest.mark.parametrize('name', MODELS)
def test_what_is_asked_of_a_model_is_checked_before_anything_is_drawn(name: str):
    generator = build(name)
    if generator.binds_to is not None:
        refused('needs the quantizer of its tokenizer', generator.sample, torch.tensor([1, 2]))
        generator.bound = object()  # pyrefly: ignore[bad-assignment]  # looked at only behind all checks
    cond, L = torch.tensor([1, 2]), generator.layout.length
    for setting, owners in OWN.items():
        if name not in owners:
            refused(f"no setting '{setting}'", generator.sample, cond, **{setting: 2})
    refused('class 5 is out of range; this model has classes 0 to 4', generator.sample, torch.tensor([1, 5]))
    refused('classes are whole numbers', generator.sample, cond.float())
    refused('conditions are a tensor, got list', generator.sample, [1, 2])
    refused('3 seeds for 2 conditions', generator.sample, cond, seeds=[1, 2, 3])
    refused('temperature must be', generator.sample, cond, temperature=-1.0)
    given, keep_BL = Codes(torch.zeros(2, L, dtype=torch.int64), generator.layout), torch.ones(2, L, dtype=torch.bool)
    for wrong in (keep_BL[:, 1:], keep_BL[:1], keep_BL.long(), None):
        refused(f'keep_BL is a bool tensor (2, {L})', generator.sample, cond, given=given, keep_BL=wrong)
    refused('expected given codes of 2 images', generator.sample, cond, given=given[:1], keep_BL=keep_BL)
    other = CodeLayout(Pyramid(((1, 1), (3, 3))) if name in OF_SCALES else Grid(2, 2), 32)
    elsewhere = Codes(torch.zeros(2, other.length, dtype=torch.int64), other)
    refused('expected given codes of 2 images on', generator.sample, cond, given=elsewhere, keep_BL=keep_BL)


@pytest.mark.parametrize(
    ('name', 'wanted'), [('VAR', 'NextScale'), ('Infinity', 'BitScales'), ('RQTransformer', 'DepthCodes')]
)
def test_a_tokenizer_without_what_a_generator_reads_is_refused(name: str, wanted: str):
    plain = tiny_tokenizer({**FVQ, 'codebook_size': 32}).fold()
    refused(f'{name} draws what this Tokenizer cannot decode', bind_checked, build(name), plain)

    class OtherCodes(torch.nn.Module):
        """As many codes, arranged alike, of a quantizer that knows neither sums nor soft codes."""

        quantizer = plain.quantizer

        def check_layout(self, layout: Any) -> None: ...

    message = f'{name} needs a quantizer that follows {wanted}, got VectorQuantizer; use another tokenizer.'
    refused(message, bind_checked, build(name), OtherCodes())


def test_more_steps_than_codes_are_refused():
    cond = torch.tensor([1, 2])
    refused('13 steps for 12 codes; give at most 12', build('RandAR').sample, cond, steps=13)
    refused('13 steps for the 12 codes of an image', build('MaskGIT').sample, cond, steps=13)


def test_captions_that_are_missing_or_of_another_model_are_refused():
    tokenizer = tiny_tokenizer({**FVQ, 'codebook_size': 32}).fold()
    reads: LlamaGen = GENERATORS.build(generator_config(caption_dim=6, caption_tokens=4)).eval()
    of_captions, of_classes = (ImageGenerator(each, tokenizer) for each in (reads, build('LlamaGen')))
    refused('captions are float features (B, 4, 6), got torch.int64', of_captions.sample, [1, 2])
    refused('captions are float features (B, 4, 6)', of_captions.sample, torch.zeros(2, 3, 6))
    refused('has no classes: its conditions are captions', lambda: of_captions.num_classes)
    refused('classes are whole numbers', of_classes.sample, torch.zeros(2, 4, 6))
    mask = torch.ones(2, 4, dtype=torch.bool)
    refused('this model has classes; leave it out', of_classes.sample, [1, 2], caption_mask_BT=mask)
    refused("no setting 'caption_mask_BT'", build('RandAR').sample, torch.tensor([1]), caption_mask_BT=mask)
