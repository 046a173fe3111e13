"""NS-VQ's loss and TransVQ's map: their rules, the schedule, bad input."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import PROJECTORS
from fvq_quantizers import chunked_softmax

from .matrix import VECTOR, D, K, build, latents, vectors


def ns_vq(**options: Any) -> Any:
    return build(VECTOR, train=True, loss=dict(type='NonStationaryLoss', **options))


def by_hand(z_ND: Tensor, codebook_KD: Tensor, temperature: float, strength: float) -> Tensor:
    """Every latent pulls every code: the chosen one fully, another by its share of the softmax, at most fully."""
    apart_NK = (z_ND.detach()[:, None] - codebook_KD).square().sum(2)
    share_NK = (-apart_NK.detach() / temperature).softmax(1)
    w_NK = (strength * K * share_NK).clamp(max=1)
    w_NK[torch.arange(len(z_ND)), apart_NK.argmin(1)] = 1
    return (w_NK * apart_NK).sum() / len(z_ND) / z_ND.shape[1]


@pytest.mark.parametrize('rows', [7, 1000])
@pytest.mark.parametrize('strength', [0.01, 5.0])
def test_codes_that_were_not_chosen_are_pulled_by_the_kernel(
    rows: int, strength: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', rows * K)
    quantizer, z = ns_vq(temperature=3.0, strength=strength), latents().requires_grad_()
    losses = quantizer(z).losses
    expected = by_hand(vectors(z), quantizer.embedding, 3.0, strength)
    torch.testing.assert_close(losses['dense'], expected)
    got, wanted = (torch.autograd.grad(term, quantizer.embedding)[0] for term in (losses['dense'], expected))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    assert (got.abs().sum(1) > 0).all()  # chosen or not
    codes_ND = quantizer.codebook()[quantizer(z).codes.indices_BL.flatten()].detach()
    torch.testing.assert_close(losses['commitment'], 0.25 * F.mse_loss(vectors(z), codes_ND))


def test_without_strength_it_is_the_plain_loss():
    z = latents()
    quantizer = ns_vq(strength=0.0)
    plain = build(VECTOR, train=True)
    plain.load_state_dict({'embedding': quantizer.embedding.detach()})
    losses = plain(z).losses
    torch.testing.assert_close(quantizer(z).losses, {'dense': losses['codebook'], 'commitment': losses['commitment']})


def test_temperature_falls_in_steps_of_training_and_is_saved():
    quantizer = ns_vq(temperature=8.0, decay=0.5, decay_steps=2)
    seen = []
    for _ in range(5):
        seen.append(quantizer.loss.temperature.item())
        quantizer(latents())
    assert seen == [8, 8, 4, 4, 2]
    quantizer.eval()(latents())
    other = ns_vq(temperature=8.0, decay=0.5, decay_steps=2)
    other.load_state_dict(quantizer.state_dict())
    assert other.loss.temperature.item() == quantizer.loss.temperature.item() == 2
    frozen = copy.deepcopy(quantizer).train()
    frozen.freeze()
    frozen(latents())
    assert frozen.loss.temperature.item() == 2
    assert ns_vq(temperature=1e-9).loss.temperature.item() == pytest.approx(1e-8)


@pytest.mark.parametrize('bad', [dict(strength=-1.0), dict(temperature=0.0), dict(decay=0.0), dict(decay_steps=-1)])
def test_impossible_schedules_are_refused(bad: dict[str, Any]):
    with pytest.raises(UserError, match='NonStationaryLoss: beta, strength and decay_steps must be 0 or more'):
        ns_vq(**bad)


def transformer(**options: Any) -> Any:
    return PROJECTORS.build(dict(type='CodebookTransformer', **options), codebook_size=K, code_dim=D)


def test_transvq_is_linear_attention_over_the_codes():
    """One block in float64 by the formula: each code takes the average of all values, weighted by phi(q) . phi(k)."""
    projector, raw = transformer(hidden_dim=12, num_heads=3).double(), torch.randn(K, D, dtype=torch.float64)
    block = projector.blocks[0]
    x = raw @ projector.compress.weight.T + projector.positions
    q, k, v = (block.norm1(x) @ block.qkv.weight.T).chunk(3, 1)
    heads = []
    for h in range(3):
        own = slice(4 * h, 4 * h + 4)
        qh, kh = (torch.where(t > 0, t + 1, t.exp()) for t in (q[:, own], k[:, own]))
        weight_KK = qh @ kh.T
        heads.append(weight_KK @ v[:, own] / (weight_KK.sum(1, keepdim=True) + 1e-6))
    x = x + torch.cat(heads, 1) @ block.proj.weight.T
    x = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(projector(raw), projector.norm(x) @ projector.expand.weight.T)


def test_transvq_starts_as_released_and_every_code_depends_on_all():
    projector = transformer()
    assert sum(p.numel() for p in projector.parameters()) == 2 * D * 256 + K * 256 + 4 * 256**2 + 4 * 256**2 + 9 * 256
    raw = torch.randn(K, D, requires_grad=True)
    (gradient,) = torch.autograd.grad(projector(raw)[3].sum(), raw)
    assert (gradient.abs().sum(1) > 0).all()


@pytest.mark.parametrize(
    'bad', [dict(hidden_dim=10, num_heads=3), dict(depth=-1), dict(mlp_ratio=0.0), dict(source_dim=0)]
)
def test_impossible_widths_are_refused(bad: dict[str, Any]):
    with pytest.raises(UserError, match='CodebookTransformer: source_dim, hidden_dim and num_heads must be 1 or more'):
        transformer(**bad)
