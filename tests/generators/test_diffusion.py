"""The Gaussian process and its samplers against closed forms; DiT, L-DiT and MAR as generators of latents."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.codes import Codes, Grid, LatentLayout, Latents, Targets, layout_from_dict
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.registry import GENERATORS
from fvq_generators.diffusion.flow_matching import flow_losses, follow
from fvq_generators.diffusion.gaussian_process import GaussianProcess
from fvq_generators.diffusion.noise_schedules import SCHEDULES
from fvq_generators.diffusion.samplers import SOLVERS, denoise
from fvq_generators.mar import hidden_counts
from tests.needs import DIFFUSERS

LAYOUT = dict(type='Grid', height=4, width=4, channels=3, scale=0.5, shift=0.25)
SMALL = dict(layout=LAYOUT, dim=16, depth=1, heads=2, num_classes=5, steps=20)
MODELS: dict[str, dict[str, Any]] = {
    'DiT': dict(type='DiT', **SMALL),
    'flow': dict(type='DiT', objective='flow', **SMALL),
    'LargeDiT': dict(type='LargeDiT', hidden_multiple=8, **SMALL),
    'MAR': dict(type='MAR', head_depth=1, head_width=16, class_tokens=2, patch_size=2, **SMALL),
}
LEVELS = dict(block_out_channels=[16, 32], layers_per_block=1, norm_num_groups=4)
ADM = dict(
    LEVELS,
    down_block_types=['ResnetDownsampleBlock2D', 'AttnDownBlock2D'],
    up_block_types=['AttnUpBlock2D', 'ResnetUpsampleBlock2D'],
    downsample_type='resnet',
    upsample_type='resnet',
    resnet_time_scale_shift='scale_shift',
    attention_head_dim=8,
    attn_norm_num_groups=4,
)
LDM = dict(
    LEVELS,
    down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D'],
    up_block_types=['CrossAttnUpBlock2D', 'UpBlock2D'],
    attention_head_dim=2,
    cross_attention_dim=12,
)
DROPS: dict[str, Any] = dict(layout=LAYOUT, num_classes=5, cond_dropout=0.1)
STAGE: dict[str, Any] = dict(arguments=ADM, learned_variance=True, steps=20, clip=True)
UNETS: dict[str, dict[str, Any]] = {
    'ADM': dict(type='UNetDiffusion', **DROPS, **STAGE),
    'LDM': dict(type='UNetDiffusion', unet='UNet2DConditionModel', arguments=LDM, steps=20, **DROPS),
    'CDM': dict(
        type='Cascade',
        stages=[dict(STAGE, factor=2), dict(STAGE, factor=1, augmentation='noise')],
        **DROPS,
    ),
}
MODELS |= UNETS
NAMES = [pytest.param(name, marks=DIFFUSERS) if name in UNETS else name for name in MODELS]
MEAN, STD = 0.7, 0.3


def build(name: str, **changed: Any) -> Generator:
    """A model with weights of which none is 0."""
    torch.manual_seed(0)
    model: Generator = GENERATORS.build({**MODELS[name], **changed})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def gaussian_noise(process: GaussianProcess, noisy: Tensor, times_B: Tensor) -> Tensor:
    """The best prediction of the noise if data are normal with MEAN and STD."""
    signal = process.signal_T[process.times.index(int(times_B[0]))].item()
    data = MEAN + math.sqrt(signal) * STD**2 / (signal * STD**2 + 1 - signal) * (noisy - math.sqrt(signal) * MEAN)
    return (noisy - math.sqrt(signal) * data) / math.sqrt(1 - signal)


def chain(solver: str, steps: int, x: Tensor, eta: float = 0.0) -> Tensor:
    process = GaussianProcess(learned_variance=False).respaced(steps)
    torch.manual_seed(1)
    states = denoise(
        process, lambda x, t: gaussian_noise(process, x, t), x, lambda step: torch.randn_like(x), solver, eta
    )
    return deque(states, maxlen=1).pop()[0]


@pytest.mark.parametrize('solver', SOLVERS)
@pytest.mark.parametrize('variance', [False, True])
@torch.no_grad()
def test_one_step_goes_from_the_noise_to_what_the_network_expects(solver: str, variance: bool):
    process, x = GaussianProcess(learned_variance=variance), torch.randn(3, 2, 4)
    for fewer in (process.respaced(1), process.strided(1)):
        seen = []

        def predict(x: Tensor, t_B: Tensor, seen: list[int] = seen) -> Tensor:
            seen.append(int(t_B[0]))
            return x.repeat(1, 1 + variance, 1)  # all of it is noise

        ((end, data),) = denoise(fewer, predict, x, lambda step: torch.zeros_like(x), solver)
        assert seen == [999]
        signal = process.signal_T[-1].item()
        torch.testing.assert_close(data, x * (1 - math.sqrt(1 - signal)) / math.sqrt(signal), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(end, data, rtol=0, atol=0.1)  # a strided process leaves a little noise


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_data_noise_and_the_noisy_tell_one_another(schedule: str):
    process = GaussianProcess(schedule)
    x, noise, t_B = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 10, 400, 900])
    noisy = process.noisy(x, t_B, noise)
    torch.testing.assert_close(process.data_of(noisy, t_B, noise), x, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(process.noise_of(noisy, t_B, x), noise, rtol=1e-3, atol=1e-3)
    assert process.signal_T[-1] < 1e-2, 'nearly nothing of the data is left'
    assert torch.equal(process.respaced(process.steps).signal_T, process.signal_T)
    assert process.respaced(3).times == [0, 500, 999]


def test_the_bound_is_zero_if_noise_and_variance_are_right():
    process = GaussianProcess()
    x, noise, t_B = torch.randn(3, 2, 4), torch.randn(3, 2, 4), torch.tensor([1, 500, 999])
    posterior = torch.cat([noise, -torch.ones_like(noise)], 1)
    terms = process.losses(lambda noisy, t: posterior, x, t_B, noise)
    assert terms['mse'].abs().max() == 0
    torch.testing.assert_close(terms['vb'], torch.zeros(3), rtol=0, atol=1e-4)
    wider = torch.cat([noise, torch.ones_like(noise)], 1)
    low, high = process.log_variance_T[t_B].float(), process.beta_T.log()[t_B].float()
    kl = 0.5 * (high - low + torch.exp(low - high) - 1) / math.log(2)
    torch.testing.assert_close(process.losses(lambda noisy, t: wider, x, t_B, noise)['vb'], kl, rtol=1e-3, atol=1e-4)


def test_solvers_of_the_equation_go_where_it_leads():
    """For normal data the flow of the process is linear, so that its end is known."""
    x = torch.linspace(-2, 2, 64).view(64, 1)
    signal = GaussianProcess().signal_T[-1].item()
    spread = math.sqrt(signal * STD**2 + 1 - signal)
    end = MEAN + STD * (x - math.sqrt(signal) * MEAN) / spread
    errors = {
        (solver, steps): (chain(solver, steps, x) - end).abs().max().item()
        for solver in ('ddim', 'dpm++')
        for steps in (20, 50, 200)
    }
    assert errors['ddim', 200] < errors['ddim', 20] / 5 < 0.2
    assert errors['dpm++', 50] < errors['ddim', 50] / 5, 'of second order'
    assert errors['dpm++', 200] < 0.001


@pytest.mark.parametrize(('solver', 'eta'), [('ddpm', 0.0), ('ddim', 1.0)])
def test_chains_with_noise_end_in_the_distribution(solver: str, eta: float):
    drawn = chain(solver, 250, torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0)), eta)
    assert abs(drawn.mean() - MEAN) < 0.02
    assert abs(drawn.std() - STD) < 0.02


def test_flows_are_learned_and_followed():
    x, noise, t_B = torch.randn(2, 3), torch.randn(2, 3), torch.tensor([0.0, 0.5])
    seen: list[Tensor] = []

    def right(noisy: Tensor, t: Tensor) -> Tensor:
        seen.append(noisy)
        return x - noise

    assert flow_losses(right, x, t_B, noise)['mse'].abs().max() == 0
    torch.testing.assert_close(seen[0], torch.stack([noise[0], (x[1] + noise[1]) / 2]))
    (*_, (end, aim)) = follow(lambda y, t: x - noise, noise, 3, 'euler')
    torch.testing.assert_close(end, x)
    torch.testing.assert_close(aim, x)

    def error(solver: str, steps: int) -> float:
        (*_, (end, _)) = follow(lambda y, t: t[:, None] + y, torch.ones(1, 1, dtype=torch.float64), steps, solver)
        return abs(end.item() - (2 * math.e - 2))  # of y' = t + y, y(0) = 1

    assert error('heun', 40) < error('heun', 10) / 3
    assert error('heun', 40) < error('euler', 40) / 5


@pytest.mark.parametrize('name', NAMES)
def test_a_sample_depends_on_its_seed_and_class_only(name: str):
    model = build(name)
    options: dict[str, Any] = dict(steps=3, cfg_scale=2.0)
    all_three = model.sample(torch.tensor([0, 4, 2]), seeds=[5, 6, 7], **options)
    assert isinstance(all_three, Latents)
    assert all_three.layout == model.layout
    alone = model.sample(torch.tensor([4]), seeds=[6], **options)
    # Chains with random weights reach thousands, and carry the rounding of another batch along.
    torch.testing.assert_close(all_three.values[1:2], alone.values, rtol=1e-3, atol=1e-3)
    other = model.sample(torch.tensor([4]), seeds=[8], **options)
    assert not torch.allclose(alone.values, other.values)
    assert model.sample(torch.tensor([], dtype=torch.int64), **options).values.shape == (0, 3, 4, 4)
    assert model.training, 'as it was'


@pytest.mark.parametrize('name', NAMES)
def test_it_learns_normalized_latents(name: str):
    torch.manual_seed(0)
    model = GENERATORS.build(MODELS[name])
    layout = model.layout
    targets = Targets(latents=Latents(layout.denormalize(torch.randn(64, 3, 4, 4)), layout))
    losses = model.loss(targets, torch.randint(5, (64,)))
    expected = 2.0 if name == 'flow' else 1.0  # an output of 0 for a velocity, which is of two normals
    sizes = ('_2', '_4') if name == 'CDM' else ('',)
    for size in sizes:
        assert losses[f'mse{size}'].item() == pytest.approx(expected, rel=0.15)
        assert (f'vb{size}' in losses) == (name not in ('flow', 'LDM'))
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_guidance_of_some_channels_leaves_the_others():
    model = build('DiT')
    x, t_B, cond = torch.randn(2, 3, 4, 4), torch.tensor([7, 7]), torch.tensor([1, 2])
    plain = model.guided(x, t_B, cond, model.Sampling())
    guided = model.guided(x, t_B, cond, model.Sampling(cfg_scale=3.0, cfg_channels=2))
    torch.testing.assert_close(guided[:, 2:], plain[:, 2:])
    assert (guided[:, :2] - plain[:, :2]).abs().min() > 0


def test_mar_looks_at_no_hidden_token_and_draws_all():
    model = build('MAR').eval()
    tokens = torch.randn(2, 4, 12)
    hidden = torch.tensor([[True, False, True, False], [False, False, True, True]])
    labels = torch.tensor([0, 1])
    changed = torch.where(hidden[..., None], torch.full_like(tokens, 9.0), tokens)
    assert torch.equal(model.features(tokens, hidden, labels), model.features(changed, hidden, labels))
    assert torch.equal(
        model.patching.join(model.patching.split(torch.arange(96.0).view(2, 3, 4, 4))).flatten(), torch.arange(96.0)
    )
    for length, steps in ((256, 64), (16, 16), (4, 1)):
        counts = hidden_counts(length, steps)
        assert counts[0][0] == length
        assert counts[-1][1] == 0
        assert all(before > after for before, after in counts)
    assert sum(model.draw_hidden(1, torch.device('cpu')).sum() >= 3 for _ in range(20)) == 20, 'at least 0.7 of four'


@pytest.mark.parametrize(
    ('name', 'changed', 'message'),
    [
        (
            'DiT',
            dict(layout=layout_from_dict(dict(type='Grid', height=4, width=4, codebook_size=8))),
            'layout of codes',
        ),
        ('MAR', dict(layout=dict(type='Grid', height=4, width=4, codebook_size=8)), 'layout of codes'),
        ('DiT', dict(layout=dict(type='Sequence', length=4, channels=3)), 'takes a Grid'),
        ('DiT', dict(patch_size=3), 'patch_size 3 does not divide a latent of 4 x 4'),
        ('DiT', dict(heads=3), 'multiple of 4 and of the 3 heads'),
        ('LargeDiT', dict(heads=16), 'two channels for each of the 16 heads'),
        ('DiT', dict(objective='score'), "'diffusion' or 'flow'"),
        ('DiT', dict(schedule='linaer'), "unknown schedule 'linaer'; did you mean 'linear'"),
        ('MAR', dict(least_masked=0.0), 'least_masked lies above 0'),
        ('MAR', dict(heads=3), 'the 3 heads do not divide 16 channels'),
        *((name, dict(cond_dropout=1.5), r'cond_dropout must lie in \[0, 1\)') for name in ('DiT', 'LargeDiT', 'MAR')),
        ('MAR', dict(dropout=1.0), r'dropout must lie in \[0, 1\)'),
    ],
)
def test_what_cannot_be_built(name: str, changed: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        GENERATORS.build({**MODELS[name], **changed})


@pytest.mark.parametrize(
    ('name', 'settings', 'message'),
    [
        ('DiT', dict(steps=21), 'expected 1 to 20 steps'),
        ('DiT', dict(solver='heun'), "was trained as a diffusion process, got solver 'heun'; use ddpm or ddim or dpm"),
        ('flow', dict(solver='ddim'), "was trained as a flow, got solver 'ddim'; use euler or heun"),
        ('DiT', dict(cfg_channels=4), 'cfg_channels 4 of latents with 3 channels'),
        ('MAR', dict(steps=5), '5 steps for 4 tokens'),
        ('MAR', dict(diffusion_steps=21), 'expected 1 to 20 steps'),
        ('DiT', dict(order='random'), "no setting 'order'"),
    ],
)
def test_what_cannot_be_drawn(name: str, settings: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        build(name).sample(torch.tensor([0]), **{**(dict(steps=3) if name != 'MAR' else {}), **settings})


def test_codes_and_latents_of_others_are_refused():
    model = build('DiT')
    codes = layout_from_dict(dict(type='Grid', height=4, width=4, codebook_size=8))
    with pytest.raises(UserError, match='learns continuous latents, got codes'):
        model.loss(Targets(Codes(torch.zeros(1, 16, dtype=torch.int64), codes)), torch.tensor([0]))
    other = LatentLayout(Grid(4, 4), 3)
    with pytest.raises(UserError, match='this model is made for'):
        model.loss(Targets(latents=Latents(torch.zeros(1, 3, 4, 4), other)), torch.tensor([0]))


@pytest.mark.parametrize('name', NAMES)
def test_a_model_in_bfloat16_draws_what_it_draws_in_float32_but_for_rounding(name: str):
    labels, options = torch.tensor([0, 3]), dict(seeds=[1, 2], steps=4, cfg_scale=1.5)
    exact = build(name).sample(labels, **options).values
    rounded = build(name).to(torch.bfloat16).sample(labels, **options).values
    assert rounded.isfinite().all()
    assert (rounded.float() - exact).norm() < 0.2 * exact.norm()
