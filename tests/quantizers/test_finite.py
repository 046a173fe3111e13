"""NaN and infinity never become codes, in any quantizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fvq_core.codes import CodeLayout, Codes
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.ops.finite import can_sync
from fvq_quantizers import latents as quantizer_latents

from .matrix import TINY_PROJECTORS, TINY_QUANTIZERS, VARIANTS, VECTOR, build, latents

CONFIGS = {name: {'type': name, **options} for name, options in TINY_QUANTIZERS.items()} | VARIANTS
every_quantizer = pytest.mark.parametrize('name', CONFIGS)
broken_numbers = pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])


@every_quantizer
@broken_numbers
@pytest.mark.parametrize('train', [False, True], ids=['eval', 'train'])
def test_latents_that_are_not_finite_are_refused_with_the_number_of_their_image(name: str, value: float, train: bool):
    quantizer, z = build(CONFIGS[name], train=train), latents(3)
    z[1, 2, 3, 3] = value
    with pytest.raises(NonFiniteError, match=r'latents of image 1 are not finite \(1 of 3 images in this batch\)'):
        quantizer(z)


@every_quantizer
def test_weights_that_are_not_finite_give_no_codes(name: str):
    quantizer = build(CONFIGS[name])
    for key, parameter in quantizer.named_parameters():
        if 'project_out' in key or 'qkv' in key:  # it acts on codes only; torch's attention may give 0 for NaN
            continue
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.view(-1)[0] = float('nan')
            with pytest.raises(NonFiniteError):
                quantizer(latents())
            parameter.copy_(kept)


@pytest.mark.parametrize('projector', TINY_PROJECTORS)
def test_mapped_codes_that_are_not_finite_are_neither_chosen_nor_decoded(projector: str):
    quantizer = build(dict(VECTOR, projector=dict(type=projector, **TINY_PROJECTORS[projector])))
    codes = quantizer(latents()).codes
    with torch.no_grad():
        quantizer.embedding[5, 0] = float('inf')
    for act in (lambda: quantizer(latents()), lambda: quantizer.embed(codes)):
        with pytest.raises(NonFiniteError, match=r'VectorQuantizer: .* codes are not finite, the first is'):
            act()


@torch.no_grad()
@every_quantizer
def test_training_off_the_cpu_embeds_codes_without_reading_them(name: str, monkeypatch: pytest.MonkeyPatch):
    checked: list[CodeLayout] = []
    monkeypatch.setattr(CodeLayout, 'check', lambda layout, indices_BL: checked.append(layout))
    # what `can_sync` answers on a GPU: only a caller that may wait can look
    monkeypatch.setattr(quantizer_latents, 'can_sync', lambda tensor, wait=True: wait)
    quantizer = build(CONFIGS[name], train=True)
    codes = quantizer(latents()).codes
    quantizer.embed(codes)
    assert not checked
    with pytest.raises(UserError, match='expected codes of shape'):
        quantizer.embed(Codes(codes.indices_BL[:, 1:], codes.layout))
    quantizer.eval().embed(codes)
    assert checked


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'read'), [('MultiScaleQuantizer', 'prefix_inputs'), ('ResidualQuantizer', 'embed_depth')]
)
def test_what_a_generator_reads_in_each_training_step_does_not_wait_for_the_gpu(
    name: str, read: str, monkeypatch: pytest.MonkeyPatch
):
    quantizer = build(CONFIGS[name])
    codes = quantizer(latents()).codes
    checked: list[CodeLayout] = []
    monkeypatch.setattr(CodeLayout, 'check', lambda layout, indices_BL: checked.append(layout))
    monkeypatch.setattr(quantizer_latents, 'can_sync', lambda tensor, wait=True: wait)
    monkeypatch.setattr(quantizer_latents, 'all_finite', lambda values: checked.append(codes.layout) or True)
    getattr(quantizer, read)(codes)
    assert not checked
    quantizer.embed(codes)
    assert len(checked) == 2  # codebook and indices
    with pytest.raises(UserError, match='expected codes of shape'):
        getattr(quantizer, read)(Codes(codes.indices_BL[:, 1:], codes.layout))


def test_codes_do_not_start_from_latents_that_are_not_finite():
    quantizer = build(dict(VECTOR, init=dict(type='KMeansInit')))
    for count in (3, 100):  # fewer latents than codes take another way
        z_ND = torch.randn(count, quantizer.code_dim)
        z_ND[2, 1] = float('nan')
        with pytest.raises(NonFiniteError, match='latents to start the codebook from'):
            quantizer.initialize(z_ND)


class OffTheCPU(torch.Tensor):
    """Says that it lies on a device for which one would have to wait."""

    @property
    def device(self) -> torch.device:
        return torch.device('xpu')


def test_training_off_the_cpu_does_not_wait_for_the_device_and_evaluation_does():
    z = latents()
    far = z.as_subclass(OffTheCPU)
    assert not can_sync(far, wait=False)
    assert can_sync(far)
    assert can_sync(z, wait=False)
    assert not can_sync(z.to('meta'))


def test_traced_code_looks_at_no_values():
    found: list[bool] = []

    class Probe(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found.append(can_sync(x))
            return x + 1

    torch._dynamo.reset()
    torch.compile(Probe(), backend='eager', fullgraph=True)(latents())
    assert found == [False]


@every_quantizer
def test_other_things_than_latents_and_codes_are_refused(name: str):
    quantizer = build(CONFIGS[name])
    z = latents()
    codes = quantizer(z).codes
    wrong: list[tuple[Any, str]] = [
        (z.numpy(), 'expected a float latent .*, got ndarray'),
        (z.to(torch.int64), 'got torch.int64'),
        (z[0], r'expected \(B, 8, H, W\) or \(B, 8, L\), got \(8, 4, 6\)'),
        (z[:, :5], r'expected \(B, 8, H, W\)'),
    ]
    for given, message in wrong:
        with pytest.raises(UserError, match=message):
            quantizer(given)
    for given in (codes.indices_BL, codes.indices_BL.tolist(), None):
        with pytest.raises(UserError, match='expected Codes, got'):
            quantizer.embed(given)
