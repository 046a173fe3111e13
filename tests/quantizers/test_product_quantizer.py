"""Product quantization: groups of channels with codebooks of their own or one for all."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fvq_core.codes import CodeLayout, Grid
from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers import ProductQuantizer, VectorQuantizer

from .matrix import GROUP, SEPARATE, VECTOR, D, K, build, latents, vectors

GROUPS = 4


def product(train: bool = False, shared: bool = False, **axes: Any) -> ProductQuantizer:
    return build(dict(type='ProductQuantizer', quantizer={**GROUP, **axes}, groups=GROUPS, shared=shared), train=train)


@pytest.mark.parametrize('shared', [False, True])
def test_each_group_is_quantized_independently(shared: bool):
    quantizer, z = product(shared=shared), latents()
    output = quantizer(z)
    assert output.codes.layout == CodeLayout(Grid(4, 6), (K,) * GROUPS)
    for g, part in enumerate(z.chunk(GROUPS, 1)):
        alone = quantizer.quantizers[0 if shared else g](part)
        assert torch.equal(output.codes.unflatten()[..., g], alone.codes.unflatten())
        assert torch.equal(output.z_q_BDHW.chunk(GROUPS, 1)[g], alone.z_q_BDHW)
        assert torch.equal(output.z_BDHW.chunk(GROUPS, 1)[g], alone.z_BDHW)


@pytest.mark.parametrize('shared', [False, True])
def test_losses_are_means_over_groups(shared: bool):
    quantizer, z = product(True, shared), latents()
    losses = quantizer(z).losses
    parts = [quantizer.quantizers[0 if shared else g](part).losses for g, part in enumerate(z.chunk(GROUPS, 1))]
    for name, value in losses.items():
        torch.testing.assert_close(value, torch.stack([part[name] for part in parts]).mean())


@torch.no_grad()
def test_rows_tell_separate_codebooks_apart():
    quantizer = product()
    codes = quantizer(latents()).codes
    rows = quantizer.codebook_indices(codes).view(-1, GROUPS)
    assert torch.equal(rows % K, codes.indices_BL.view(-1, GROUPS))
    assert torch.equal(rows // K, torch.arange(GROUPS).expand_as(rows))
    assert quantizer.codebook().shape == (GROUPS * K, D // GROUPS)
    shared = product(shared=True)
    assert shared.codebook().shape == (K, D // GROUPS)
    assert shared.codebook_indices(codes) is codes.indices_BL


def test_shared_codebook_is_mapped_once_a_step(monkeypatch: pytest.MonkeyPatch):
    mapped = []
    original = VectorQuantizer.map
    monkeypatch.setattr(VectorQuantizer, 'map', lambda *args: mapped.append(1) or original(*args))
    product(True, shared=True, projector=dict(type='LinearProjector'))(latents())
    assert len(mapped) == 1


@pytest.mark.parametrize('shared', [False, True])
@torch.no_grad()
def test_kmeans_start_sees_the_channels_of_its_group(shared: bool):
    quantizer = product(shared=shared, init=dict(type='KMeansInit'))
    assert quantizer.needs_init
    assert not product().needs_init
    centres = torch.tensor([-30.0, -10.0, 10.0, 30.0]).repeat_interleave(D // GROUPS)
    quantizer.initialize(centres + 0.1 * torch.randn(8 * K, D))
    for g, part in enumerate(quantizer.codebook().chunk(1 if shared else GROUPS)):
        expected = [-30, -10, 10, 30] if shared else [-30 + 20 * g]
        assert (part / 10).round().mul(10).unique().tolist() == expected


@torch.no_grad()
def test_channels_last_latent_gives_the_same_codes():
    z = latents()
    for shared in (False, True):
        quantizer = product(shared=shared)
        one, other = quantizer(z), quantizer(z.contiguous(memory_format=torch.channels_last))
        assert torch.equal(one.codes.indices_BL, other.codes.indices_BL)
        assert torch.equal(one.z_q_BDHW, other.z_q_BDHW)


def test_classes_reach_the_wrapped_quantizers():
    bridge = dict(type='DiTBridge', patch_size=4, hidden_dim=8, output_scale=1.0, num_classes=3, class_dropout=0.0)
    bridge['fold_label'] = 1
    for shared in (False, True):
        quantizer = product(True, shared, projector=bridge)
        assert quantizer.takes_labels
        z, labels_B = latents(), torch.tensor([0, 2])
        both = quantizer(z, labels_B).codes.indices_BL
        for i in range(2):
            assert torch.equal(quantizer(z[i : i + 1], labels_B[i : i + 1]).codes.indices_BL[0], both[i])
        assert not torch.equal(both, quantizer(z, labels_B.flip(0)).codes.indices_BL)
    assert not product().takes_labels


def test_quantizers_without_a_plain_grid_are_refused():
    with pytest.raises(UserError, match='one code per position, got ResidualQuantizer'):
        QUANTIZERS.build(dict(type='ProductQuantizer', quantizer=SEPARATE, groups=2))
    with pytest.raises(UserError, match='groups must be 1 or more, got 0'):
        QUANTIZERS.build(dict(type='ProductQuantizer', quantizer=VECTOR, groups=0))


@torch.no_grad()
def test_one_group_is_the_wrapped_quantizer():
    quantizer, z = QUANTIZERS.build(dict(type='ProductQuantizer', quantizer=VECTOR, groups=1)).eval(), latents()
    assert torch.equal(vectors(quantizer(z).z_q_BDHW), vectors(quantizer.quantizer(z).z_q_BDHW))
