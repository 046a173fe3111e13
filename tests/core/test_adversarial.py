"""The adversarial loss against closed forms, and what it must leave alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.losses import HingeGANLoss, NonSaturatingGANLoss, VanillaGANLoss
from fvq_core.losses.adversarial import AdversarialLoss, LeCAM, R1Penalty
from fvq_core.losses.adversarial.adaptive_weight import adaptive_weight
from fvq_core.losses.discriminators import PatchGAN
from fvq_core.registry import LOSSES

PATCHGAN = dict(type='PatchGAN', ch=4, layers=1)
ALONE = dict(PATCHGAN, norm='none')
REAL, FAKE = torch.tensor([[2.0, 0.5], [-1.0, 1.0]]), torch.tensor([[-3.0, 0.5], [1.0, -0.5]])


def build(**options: Any) -> AdversarialLoss:
    return LOSSES.build({'type': 'AdversarialLoss', 'discriminator': PATCHGAN, **options})


def images(batch: int = 3, size: int = 8) -> Tensor:
    return torch.rand(batch, 3, size, size) * 2 - 1


# The losses of logits


def test_hinge_is_its_formula_and_ignores_what_is_beyond_the_margin() -> None:
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    loss = HingeGANLoss().discriminator(real, fake)
    assert loss.item() == pytest.approx(0.5 * ((0 + 0.5 + 2 + 0) / 4 + (0 + 1.5 + 2 + 0.5) / 4))
    loss.backward()
    torch.testing.assert_close(real.grad, torch.tensor([[0, -0.125], [-0.125, 0]]))
    torch.testing.assert_close(fake.grad, torch.tensor([[0, 0.125], [0.125, 0.125]]))
    assert HingeGANLoss().generator(FAKE).item() == pytest.approx(0.5)


@pytest.mark.parametrize('loss', [VanillaGANLoss(), NonSaturatingGANLoss()])
def test_cross_entropies_are_logs_of_probabilities_and_stay_finite(loss: Any) -> None:
    expected = -0.5 * (REAL.sigmoid().log().mean() + (1 - FAKE.sigmoid()).log().mean())
    torch.testing.assert_close(loss.discriminator(REAL, FAKE), expected)
    torch.testing.assert_close(loss.generator(FAKE), -FAKE.sigmoid().log().mean())
    far = torch.tensor([1000.0])
    assert loss.discriminator(-far, far).item() == pytest.approx(1000)
    assert loss.generator(far).item() == pytest.approx(0)


def test_swapped_arguments_make_the_cross_entropy_linear_and_blind_to_fakes() -> None:
    loss, real, fake = NonSaturatingGANLoss(swapped=True), REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    one, zero = F.softplus(torch.tensor(1.0)), torch.tensor(2.0).log()
    torch.testing.assert_close(loss.generator(FAKE), one - FAKE.mean())
    discriminator_losses = loss.discriminator(real, fake)
    torch.testing.assert_close(discriminator_losses, 0.5 * (one - REAL.mean() + zero))
    discriminator_losses.backward()
    torch.testing.assert_close(real.grad, torch.full((2, 2), -0.125))
    assert fake.grad is not None
    assert not fake.grad.any()


def test_image_mean_judges_an_image_by_the_mean_of_its_logits() -> None:
    loss, logits = NonSaturatingGANLoss(image_mean=True), torch.randn(3, 1, 4, 4)
    means = logits.mean((1, 2, 3))
    torch.testing.assert_close(loss.generator(logits), VanillaGANLoss().generator(means))
    torch.testing.assert_close(loss.discriminator(logits, -logits), VanillaGANLoss().discriminator(means, -means))


# The tokenizer's half


def test_defaults_are_the_papers() -> None:
    with torch.device('meta'):
        adversarial = LOSSES.build(dict(type='AdversarialLoss'))
    assert isinstance(adversarial.discriminator, PatchGAN)
    assert isinstance(adversarial.loss, HingeGANLoss)
    assert (adversarial.weight, adversarial.discriminator_weight) == (0.5, 0.5)
    assert [adversarial.active(iteration) for iteration in (0, 19_999, 20_000)] == [False, False, True]
    assert [build(start=0).active(iteration) for iteration in (0, 1)] == [True, True]


def test_the_generators_loss_reaches_the_fakes_and_no_weight_of_the_discriminator() -> None:
    adversarial, fake = build(), images().requires_grad_()
    adversarial.discriminator.main[0].bias.requires_grad_(False)
    before = [p.requires_grad for p in adversarial.parameters()]
    expected = -copy.deepcopy(adversarial.discriminator)(fake).mean()
    loss = adversarial.generator(fake)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(expected, fake)
    loss.backward()
    torch.testing.assert_close(fake.grad, gradient)
    assert all(p.grad is None for p in adversarial.parameters())
    assert [p.requires_grad for p in adversarial.parameters()] == before


def test_the_discriminator_stays_trainable_when_its_forward_pass_fails() -> None:
    adversarial = build()
    with pytest.raises(RuntimeError, match='expected input'):
        adversarial.generator(torch.zeros(1, 5, 8, 8))
    assert all(p.requires_grad for p in adversarial.parameters())


def test_the_generators_loss_moves_batch_statistics_as_a_plain_forward_pass_does() -> None:
    adversarial, fake = build(), images()
    plain = copy.deepcopy(adversarial.discriminator)
    plain(fake)
    adversarial.generator(fake)
    torch.testing.assert_close(adversarial.discriminator.state_dict(), plain.state_dict(), rtol=0, atol=0)
    assert any(key.endswith('running_mean') for key in plain.state_dict())


def test_the_generator_may_have_another_loss() -> None:
    adversarial = build(loss=dict(type='VanillaGANLoss'), generator_loss=dict(type='HingeGANLoss')).eval()
    real, fake = images(), images()
    logits_real, logits_fake = adversarial.discriminator(real), adversarial.discriminator(fake)
    torch.testing.assert_close(adversarial.generator(fake), -logits_fake.mean())
    expected = 0.5 * VanillaGANLoss().discriminator(logits_real, logits_fake)
    torch.testing.assert_close(adversarial(real, fake)['discriminator'], expected)


def test_the_fixed_weight_is_a_constant() -> None:
    weight = build(weight=0.3).generator_weight(torch.tensor(1.0), torch.tensor(2.0), nn.Parameter(torch.ones(1)))
    assert weight.item() == pytest.approx(0.3)
    assert not weight.requires_grad


def test_the_adaptive_weight_is_the_ratio_of_last_layer_gradients_and_keeps_the_graphs() -> None:
    layer = nn.Parameter(torch.randn(4))
    pixels, generator_loss = (
        (layer * torch.tensor([3.0, 0, 4, 0])).sum(),
        (layer * torch.tensor([0.0, 0.5, 0, 0])).sum(),
    )
    weight = build(weight=0.8, adaptive=True).generator_weight(pixels, generator_loss, layer)
    assert weight.item() == pytest.approx(0.8 * 5 / (0.5 + 1e-4))
    assert not weight.requires_grad
    assert layer.grad is None
    (pixels + weight * generator_loss).backward()
    expected = torch.tensor([3.0, weight.item() * 0.5, 4, 0])
    torch.testing.assert_close(layer.grad, expected)


def test_the_adaptive_weight_is_bounded_if_the_discriminator_gives_no_gradient() -> None:
    layer = nn.Parameter(torch.randn(4))
    assert adaptive_weight(layer.sum(), 0 * layer.sum(), layer).item() == pytest.approx(1e4)
    assert adaptive_weight(0 * layer.sum(), layer.sum(), layer).item() == 0


def test_the_adaptive_weight_survives_gradients_too_small_for_float16() -> None:
    x, weight = torch.rand(1, 8, 64, 64), torch.randn(3, 8, 3, 3) * 0.1

    def ratio(enabled: bool) -> float:
        layer = nn.Parameter(weight)
        with torch.autocast('cpu', torch.float16, enabled=enabled):
            image = F.conv2d(x, layer, padding=1).float()
            return adaptive_weight(1e-3 * image.square().mean(), image.mean(), layer).item()

    assert ratio(True) == pytest.approx(ratio(False), rel=0.02)


# The discriminator's half


def test_real_images_and_fakes_pass_apart_and_fakes_get_no_gradient() -> None:
    adversarial, real, fake = build(discriminator_weight=0.25), images(), images().requires_grad_()
    plain = copy.deepcopy(adversarial.discriminator)
    losses = adversarial(real, fake)
    assert losses.keys() == {'discriminator'}
    torch.stack(list(losses.values())).sum().backward()
    logits_real, logits_fake = plain(real), plain(fake.detach())
    expected = 0.25 * HingeGANLoss().discriminator(logits_real, logits_fake)
    expected.backward()
    torch.testing.assert_close(losses['discriminator'], expected)
    torch.testing.assert_close([p.grad for p in adversarial.parameters()], [p.grad for p in plain.parameters()])
    torch.testing.assert_close(adversarial.discriminator.state_dict(), plain.state_dict())
    assert fake.grad is None


def test_losses_are_in_float32_under_autocast() -> None:
    adversarial, real, fake = build(discriminator=ALONE, lecam=0.1, r1=1.0), images(), images()
    exact = R1Penalty(1.0)(adversarial.discriminator, real)[1]
    with torch.autocast('cpu', torch.bfloat16):
        losses = {'generator': adversarial.generator(fake), **adversarial(real, fake)}
    assert {value.dtype for value in losses.values()} == {torch.float32}
    torch.testing.assert_close(losses['r1'], exact)


@pytest.mark.parametrize('one_sided', [True, False])
def test_lecam_is_its_formula_with_running_means_of_all_calls(one_sided: bool) -> None:
    lecam, mean_real, mean_fake = LeCAM(weight=0.7, decay=0.9, one_sided=one_sided), 0.0, 0.0
    for _ in range(3):
        real, fake = torch.randn(2, 1, 3, 3).requires_grad_(), torch.randn(2, 1, 3, 3).requires_grad_()
        mean_real = 0.9 * mean_real + 0.1 * real.mean().item()
        mean_fake = 0.9 * mean_fake + 0.1 * fake.mean().item()
        over, under = real.detach() - mean_fake, mean_real - fake.detach()
        if one_sided:
            over, under = over.clamp(min=0), under.clamp(min=0)
        loss = lecam(real, fake)
        torch.testing.assert_close(loss, 0.7 * (over.square().mean() + under.square().mean()))
        loss.backward()  # the running means are constants
        torch.testing.assert_close(real.grad, 0.7 * 2 * over / over.numel())
        torch.testing.assert_close(fake.grad, -0.7 * 2 * under / under.numel())
    torch.testing.assert_close(lecam.means, torch.tensor([mean_real, mean_fake]))
    held = lecam.means.clone()
    lecam.eval()(real, fake)
    torch.testing.assert_close(lecam.means, held, rtol=0, atol=0)


def test_lecam_of_batch_means_uses_the_averages_before_the_batch() -> None:
    lecam = LeCAM(weight=0.7, decay=0.9, batch_means=True)
    lecam.means.copy_(torch.tensor([0.5, -0.2]))
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-4.0, 2.0])
    torch.testing.assert_close(lecam(real, fake), torch.tensor(0.7 * ((2.0 + 0.2) ** 2 + (0.5 + 1.0) ** 2)))
    torch.testing.assert_close(lecam.means, torch.tensor([0.9 * 0.5 + 0.1 * 2.0, 0.9 * -0.2 + 0.1 * -1.0]))


class Quadratic(nn.Module):
    """Two logits an image, which sum to c . x^2."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.randn(3, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        logit = (self.c * x.square()).sum((1, 2, 3))
        return torch.stack([0.25 * logit, 0.75 * logit], 1)


def test_r1_is_the_mean_squared_gradient_and_trains_the_discriminator() -> None:
    network, x = Quadratic(), images(3, 4)
    logits, penalty = R1Penalty(weight=1.5)(network, x)
    torch.testing.assert_close(logits, network(x))
    torch.testing.assert_close(penalty, 1.5 * (2 * network.c * x).square().sum((1, 2, 3)).mean())
    penalty.backward()
    torch.testing.assert_close(network.c.grad, 1.5 * (8 * network.c * x.square()).mean(0))
    assert not x.requires_grad


def test_r1_of_a_network_agrees_with_finite_differences() -> None:
    network, x = PatchGAN(ch=4, layers=1, norm='none'), images(2)
    exact, h = copy.deepcopy(network).double(), 1e-5
    steps = h * torch.eye(x[0].numel(), dtype=torch.float64).view(-1, *x[0].shape)
    slopes = [
        (exact(image + steps).sum((1, 2, 3)) - exact(image - steps).sum((1, 2, 3))) / (2 * h) for image in x.double()
    ]
    expected = 10 * torch.stack(slopes).square().sum(1).mean()
    assert R1Penalty()(network, x)[1].item() == pytest.approx(expected.item(), rel=1e-4)


def test_lazy_r1_is_due_on_every_nth_call_and_counts_n_times() -> None:
    network, x = Quadratic(), images(2, 4)
    full, lazy = R1Penalty(2.0)(network, x)[1].item(), R1Penalty(2.0, every=3)
    due = [lazy(network, x)[1].item() for _ in range(4)]
    assert due == pytest.approx([3 * full, 0, 0, 3 * full])
    resumed = R1Penalty(2.0, every=3)
    resumed(network, x)
    resumed.load_state_dict(lazy.state_dict())
    assert [resumed(network, x)[1].item() for _ in range(3)] == pytest.approx([0, 0, 3 * full])


def test_r1_refuses_a_discriminator_that_judges_whole_batches() -> None:
    with pytest.raises(UserError, match=r"PatchGAN has BatchNorm.*use norm='none'"):
        build(r1=10.0)
    with pytest.raises(UserError, match='every must be 1 or more, got 0'):
        build(discriminator=ALONE, r1=dict(type='R1Penalty', every=0))


def test_regularisers_are_given_by_weight_or_by_config_and_are_terms_of_their_own() -> None:
    adversarial = build(discriminator=ALONE, lecam=0.05, r1=dict(type='R1Penalty', weight=3.0, every=2))
    real, fake = images(), images()
    losses = adversarial(real, fake)
    assert list(losses) == ['discriminator', 'lecam', 'r1']
    logits = [adversarial.discriminator(x) for x in (real, fake)]
    torch.testing.assert_close(losses['lecam'], LeCAM(0.05)(*logits))
    torch.testing.assert_close(losses['r1'], 2 * R1Penalty(3.0)(adversarial.discriminator, real)[1])
    assert not adversarial(real, fake)['r1'].any()


def test_a_smoke_run_trains_without_and_with_it() -> None:
    assert [AdversarialLoss.smoke(cfg)['start'] for cfg in (dict(start=20_000), {}, dict(start=0))] == [1, 1, 0]


# Compiled, and on many ranks


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # torch's own tracing
def test_a_compiled_discriminator_gives_the_same_losses_and_gradients() -> None:
    eager, real, fake = build(discriminator=ALONE, r1=dict(type='R1Penalty', every=2)), images(), images()
    compiled = copy.deepcopy(eager)
    compiled.discriminator.compile(backend='aot_eager')
    torch._dynamo.utils.counters.clear()
    got, expected = (step_twice(adversarial, real, fake) for adversarial in (compiled, eager))
    assert torch._dynamo.utils.counters['frames']['ok'] >= 2  # for the generator and for training
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


def step_twice(adversarial: AdversarialLoss, real: Tensor, fake: Tensor) -> list[Any]:
    """Losses and gradients of two calls, of which R1 is due on the first."""
    out: list[Any] = []
    for _ in range(2):
        leaf = fake.clone().requires_grad_()
        generator, discriminator_losses = adversarial.generator(leaf), adversarial(real, fake)
        (generator + torch.stack(list(discriminator_losses.values())).sum()).backward()
        out += [generator.detach(), {k: v.detach() for k, v in discriminator_losses.items()}, leaf.grad]
    return [*out, [p.grad for p in adversarial.parameters()]]


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_in, self.conv_out = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(torch.tanh(self.conv_in(x)))


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # torch's own tracing
def test_the_adaptive_weight_can_start_long_after_the_decoder_was_compiled() -> None:
    adversarial, decoder, x = build(adaptive=True, discriminator=ALONE), Decoder(), images()
    decoder.compile(backend='aot_eager')
    decoder(x).square().mean().backward()  # before the start: one backward pass, compiled
    fake = decoder(x)
    pixels, generator_loss = fake.square().mean(), adversarial.generator(fake)
    weight = adversarial.generator_weight(pixels, generator_loss, decoder.conv_out.weight)
    (pixels + weight * generator_loss).backward()
    fake = decoder.forward(x)  # not compiled
    last = decoder.conv_out.weight
    expected = adaptive_weight(fake.square().mean(), adversarial.generator(fake), last)
    torch.testing.assert_close(weight, 0.5 * expected)


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(delay=2), [0, 0, 0.5, 0.5, 0.5]),
        (dict(delay=2, warmup=2), [0, 0, 0, 0.25, 0.5]),
        (dict(warmup=2), [0, 0.25, 0.5, 0.5, 0.5]),
    ],
)
def test_the_generator_waits_while_the_discriminator_trains(options: dict[str, int], expected: list[float]) -> None:
    loss, one = build(weight=0.5, start=0, **options), torch.tensor(1.0)
    assert loss.active(0)
    weights = [loss.generator_weight(one, one, one).item() for _ in range(2)]
    resumed = build(weight=0.5, start=0, **options)
    resumed.load_state_dict(loss.state_dict())
    assert weights + [resumed.generator_weight(one, one, one).item() for _ in range(3)] == expected
