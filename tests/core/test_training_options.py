"""Accumulation, checkpointing, compilation, memory order, precision, averaging: each by its effect."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import MODELS
from fvq_core.training.hooks import EMAHook
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_core.training.tasks import TokenizerTask
from tests.tiny import FVQ, HALF, tokenizer_config

VQ = dict(type='VectorQuantizer', codebook_size=16, code_dim=8, init=dict(type='NormalInit', std=0.3))
SGD = dict(type='ClippedOptimWrapper', optimizer=dict(type='SGD', lr=0.1), max_norm=None)


def make_task(tokenizer: dict[str, Any] | None = None, **options: Any) -> TokenizerTask:
    torch.manual_seed(0)
    model = dict(
        type='TokenizerTask',
        tokenizer=tokenizer or tokenizer_config(FVQ),
        reconstruction_loss=dict(type='L2Loss'),
        **options,
    )
    return MODELS.build(model).place(torch.device('cpu')).train()


def batch(size: int = 4, seed: int = 1) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {'images': torch.randint(0, 256, (size, 3, 16, 16), dtype=torch.uint8, generator=rng)}


def weights_after_a_step(task: TokenizerTask, data: list[dict[str, Tensor]], **options: Any) -> dict[str, Tensor]:
    task.train_step(data, build_optim_wrappers({**SGD, **options}, task.parts()), 0)
    return task.state_dict()


def test_micro_batches_equal_one_batch_of_their_size() -> None:
    whole = batch(6)
    thirds = [{'images': images} for images in whole['images'].split(2)]
    one = weights_after_a_step(make_task(), [whole])
    start = make_task().state_dict()
    torch.testing.assert_close(weights_after_a_step(make_task(), thirds), one, rtol=1e-5, atol=1e-6)
    assert all(not torch.equal(one[key], start[key]) for key in one if key.endswith('conv_in.weight'))


def test_checkpointed_blocks_give_the_same_gradients_and_keep_less() -> None:
    def run(checkpointing: bool) -> tuple[dict[str, Tensor | None], int]:
        config = tokenizer_config(FVQ)
        for part in ('encoder', 'decoder'):
            config[part] = {**config[part], **HALF, 'attention': True, 'dropout': 0.1, 'checkpointing': checkpointing}
        task, kept = make_task(config), []
        torch.manual_seed(3)  # of the dropout

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            images = task.images(batch())
            loss = torch.stack(list(task.losses(images, task(images)).values())).sum()
        loss.backward()
        return {name: parameter.grad for name, parameter in task.named_parameters()}, sum(kept)

    (plain, much), (checkpointed, little) = run(False), run(True)
    torch.testing.assert_close(checkpointed, plain, rtol=1e-5, atol=1e-7)
    assert little < 0.5 * much


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # torch's own tracing
def test_compiled_equals_eager_and_keeps_the_state_dict() -> None:
    torch._dynamo.reset()  # what other tests compiled would be found again
    eager, compiled = make_task(), make_task(compile='aot_eager')
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    torch._dynamo.utils.counters.clear()
    got = weights_after_a_step(compiled, [batch()])
    assert torch._dynamo.utils.counters['frames']['ok'] >= 2  # encoder and decoder went through the compiler
    torch.testing.assert_close(got, weights_after_a_step(eager, [batch()]), rtol=1e-5, atol=1e-6)


def test_channels_last_reaches_weights_and_images_and_changes_no_result() -> None:
    plain, task = make_task(), make_task(channels_last=True)
    assert task.tokenizer.encoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert task.images(batch()).is_contiguous(memory_format=torch.channels_last)
    got, expected = (weights_after_a_step(each, [batch()]) for each in (task, plain))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('precision', 'dtype'), [('bfloat16', torch.bfloat16), ('float16', torch.float16)])
def test_autocast_computes_in_half_and_maps_and_searches_in_full(precision: str, dtype: torch.dtype) -> None:
    task = make_task()
    seen = {}
    task.tokenizer.encoder.register_forward_hook(lambda module, args, out: seen.update(encoder=out.dtype))
    task.tokenizer.quantizer.projector.register_forward_hook(lambda module, args, out: seen.update(bridge=out.dtype))
    task.tokenizer.quantizer.register_forward_hook(lambda module, args, out: seen.update(z=out.z_BDHW.dtype))
    state = weights_after_a_step(task, [batch()], precision=precision)
    assert seen == {'encoder': dtype, 'bridge': torch.float32, 'z': torch.float32}
    assert all(value.dtype == torch.float32 for value in state.values() if value.is_floating_point())


def test_an_overflow_in_float16_leaves_the_step_out_and_lowers_the_scale() -> None:
    task = make_task()
    start = {key: value.clone() for key, value in task.state_dict().items()}
    wrappers = build_optim_wrappers({**SGD, 'precision': 'float16', 'max_norm': 1.0}, task.parts())
    scaler = wrappers['tokenizer'].scaler
    scaler._growth_tracker, scaler._scale = torch.tensor(0, dtype=torch.int32), torch.tensor(3e38)
    task.train_step([batch()], wrappers, 0)
    torch.testing.assert_close(task.state_dict(), start, rtol=0, atol=0)
    assert scaler.get_scale() == pytest.approx(1.5e38)
    assert wrappers['tokenizer'].overflow_is_expected


def test_loss_scaling_in_float16_does_not_scale_the_step() -> None:
    got = weights_after_a_step(make_task(), [batch()], precision='float16', max_norm=0.5)
    torch.testing.assert_close(got, weights_after_a_step(make_task(), [batch()], max_norm=0.5), rtol=0, atol=2e-3)


def test_a_part_may_have_another_optimizer() -> None:
    model = torch.nn.Linear(1, 1)
    parts = dict(tokenizer=model, discriminator=torch.nn.Linear(1, 1))
    wrappers = build_optim_wrappers({**SGD, 'parts': dict(discriminator=dict(optimizer=dict(lr=0.4)))}, parts)
    assert [wrappers[name].get_lr()['lr'] for name in parts] == [[0.1], [0.4]]
    with pytest.raises(UserError, match="no part 'discriminater'; did you mean 'discriminator'"):
        build_optim_wrappers({**SGD, 'parts': dict(discriminater={})}, parts)


def test_ema_follows_its_formula_and_evaluations_see_it() -> None:
    task = make_task()
    runner: Any = SimpleNamespace(task=task)
    hook = EMAHook(decay=0.9)
    hook.before_train_epoch(runner)
    expected = {key: value.clone() for key, value in task.state_dict().items()}
    wrappers = build_optim_wrappers(SGD, task.parts())
    for step in range(3):
        task.train_step([batch(seed=step)], wrappers, step)
        hook.after_train_iter(runner, step)
        expected = {key: 0.9 * old + 0.1 * task.state_dict()[key] for key, old in expected.items()}
    raw = {key: value.clone() for key, value in task.state_dict().items()}
    hook.before_val(runner)
    torch.testing.assert_close(task.state_dict(), expected)
    assert task.weights_note == ' (average of decay 0.9)'
    hook.after_val(runner)
    torch.testing.assert_close(task.state_dict(), raw, rtol=0, atol=0)
    assert task.weights_note == ''

    checkpoint: dict[str, Any] = {}
    hook.before_checkpoint(runner)
    hook.before_save_checkpoint(runner, checkpoint)
    torch.testing.assert_close(checkpoint['ema_state_dict'], expected)
    again = EMAHook(decay=0.9)
    again.after_load_checkpoint(runner, checkpoint)
    again.before_train_epoch(runner)
    torch.testing.assert_close(again.average, expected)


def test_the_discriminator_is_not_called_before_its_start_and_learns_from_then_on() -> None:
    discriminator = dict(type='PatchGAN', ch=4, layers=1)
    task = make_task(adversarial=dict(type='AdversarialLoss', start=2, discriminator=discriminator))
    calls = []
    task.adversarial.discriminator.register_forward_hook(lambda *_: calls.append(1))
    wrappers = build_optim_wrappers(SGD, task.parts())
    before = {key: value.clone() for key, value in task.adversarial.state_dict().items()}
    for iteration in range(2):
        losses = task.train_step([batch()], wrappers, iteration)['losses']
        assert 'adversarial' not in losses
    assert not calls
    torch.testing.assert_close(task.adversarial.state_dict(), before, rtol=0, atol=0)
    losses = task.train_step([batch()], wrappers, 2)['losses']
    assert len(calls) == 3  # for the tokenizer's loss, and for real and fake
    assert {'adversarial', 'discriminator'} <= losses.keys()
    assert not torch.equal(task.adversarial.discriminator.main[0].weight, before['discriminator.main.0.weight'])
