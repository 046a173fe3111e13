"""`model.freeze`: parts that training leaves exactly as they are, and what the others learn around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.ops.identical import identical
from fvq_core.registry import MODELS
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_core.training.runner import Runner
from fvq_core.training.tasks import TokenizerTask

from ..tiny import FVQ, kl_config, tokenizer_config

EMA = dict(
    type='VectorQuantizer',
    codebook_size=16,
    code_dim=8,
    update=dict(type='EMAUpdate', restart=True),
    loss=dict(type='VQLoss', codebook_weight=0.0),
)
GAN = dict(
    type='AdversarialLoss',
    start=0,
    adaptive=True,
    discriminator=dict(type='PatchGAN', ch=4, layers=1, norm='none'),
)
IMAGES = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
HALVES = {'encoder': ('encoder', 'pre_quant'), 'quantizer': ('quantizer',), 'decoder': ('decoder', 'post_quant')}


def task_of(freeze: list[str], quantizer: Any = EMA, **parts: Any) -> TokenizerTask:
    torch.manual_seed(0)
    model = dict(tokenizer=tokenizer_config(quantizer), reconstruction_loss=dict(type='L2Loss'), freeze=freeze)
    return MODELS.build(dict(type='TokenizerTask', **(model | parts))).train()


def optimizers_of(task: TokenizerTask) -> Any:
    config = dict(type='ClippedOptimWrapper', optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.1))
    return build_optim_wrappers(config, task.parts())


def changed_by_training(task: TokenizerTask, steps: int = 3) -> set[str]:
    """The children of the tokenizer in which anything is not what it was, after some steps."""
    optimizers = optimizers_of(task)
    before = {key: value.clone() for key, value in task.tokenizer.state_dict().items()}
    for step in range(steps):
        task.train_step([{'images': IMAGES}], optimizers, step)
    after = task.tokenizer.state_dict()
    return {key.split('.')[0] for key, value in before.items() if not torch.equal(value, after[key])}


@pytest.mark.parametrize('quantizer', [EMA, FVQ], ids=['ema', 'bridge'])
@pytest.mark.parametrize(
    'freeze',
    [
        ['encoder'],
        ['quantizer'],
        ['decoder'],
        ['encoder', 'quantizer'],
        ['quantizer', 'decoder'],
        ['encoder', 'decoder'],
    ],
    ids='+'.join,
)
def test_training_changes_everything_but_what_is_frozen(freeze: list[str], quantizer: Any):
    if quantizer is EMA and freeze == ['encoder', 'decoder']:
        with pytest.raises(UserError, match='frozen, nothing of Tokenizer is trained'):
            task_of(freeze, quantizer)
        return
    task = task_of(freeze, quantizer, adversarial=GAN)
    trained = {child for name, children in HALVES.items() if name not in freeze for child in children}
    assert changed_by_training(task) == trained


def test_frozen_parts_have_neither_gradients_nor_optimizer_state():
    task = task_of(['encoder', 'quantizer'])
    optimizers = optimizers_of(task)
    task.train_step([{'images': IMAGES}], optimizers, 0)
    with_state = {id(parameter) for parameter in optimizers['tokenizer'].optimizer.state}
    for name, parameter in task.tokenizer.named_parameters():
        assert (id(parameter) in with_state) == name.startswith(('decoder.', 'post_quant.')), name
    out = task(task.images({'images': IMAGES}))
    assert out.losses == {}
    assert not out.quantized.z_q_BDHW.requires_grad


def test_what_decides_the_codes_stays_in_eval_mode_and_a_quantizer_that_teaches_the_encoder_in_training():
    task = task_of(['encoder', 'quantizer']).eval().train()
    tokenizer = task.tokenizer
    assert [m.training for m in (tokenizer.encoder, tokenizer.pre_quant, tokenizer.quantizer)] == [False] * 3
    assert tokenizer.decoder.training
    assert tokenizer.quantizer.update.training is False
    task = task_of(['quantizer'])
    assert task.tokenizer.quantizer.training
    assert all(term.requires_grad for term in task(task.images({'images': IMAGES})).losses.values())


def test_adaptive_weight_is_taken_at_the_reconstruction_if_the_last_layer_is_frozen():
    """At the image both gradients are those that the encoder gets, up to one common linear map."""
    task = task_of(['decoder'], adversarial=GAN)
    images = task.images({'images': IMAGES})
    out = task.tokenizer(images)
    terms = task.losses(images, out, task.adversarial)
    reconstruction = out.reconstruction
    (pixels,) = torch.autograd.grad(terms['reconstruction'], reconstruction, retain_graph=True)
    generator = task.adversarial.generator(reconstruction)
    (other,) = torch.autograd.grad(generator, reconstruction, retain_graph=True)
    expected = task.adversarial.weight * pixels.norm() / (other.norm() + 1e-4) * generator
    torch.testing.assert_close(terms['adversarial'], expected)


def test_halves_of_a_continuous_autoencoder_are_frozen_too():
    task = task_of(['encoder'], tokenizer=kl_config())
    assert changed_by_training(task) == {'decoder', 'post_quant'}
    with pytest.raises(UserError, match=r"KLAutoencoder has no part 'quantizer'; it has encoder, decoder\.$"):
        task_of(['quantizer'], tokenizer=kl_config())


@pytest.mark.parametrize(
    ('freeze', 'message'),
    [
        (['encodr'], r"model\.freeze: Tokenizer has no part 'encodr'; it has encoder, quantizer, decoder\.$"),
        (
            ['encoder', 'quantizer', 'decoder'],
            r'with encoder, quantizer, decoder frozen, nothing of Tokenizer is trained',
        ),
    ],
)
def test_what_cannot_be_frozen_is_refused(freeze: Any, message: str):
    with pytest.raises(UserError, match=message):
        task_of(freeze)


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # dynamo looks at it
def test_compiled_parts_are_frozen_too():
    task = task_of(['encoder', 'quantizer'], compile='aot_eager').place(torch.device('cpu')).train()
    assert changed_by_training(task) == {'decoder', 'post_quant'}


def test_a_run_with_frozen_parts_averages_resumes_exactly_and_keeps_them(tmp_path: Path):
    options = {
        'train_dataloader.batch_size': 2,
        'val_dataloader.dataset.crops': 2,
        'train_cfg.max_iters': 3,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.report': None,
        'default_hooks.ema': dict(type='EMAHook', decay=0.9),
        'model.perceptual_loss': None,
        'model.tokenizer': {**tokenizer_config(EMA), '_delete_': True},
        'model.freeze': ['encoder', 'quantizer'],
    }
    config = Path(__file__).parents[2] / 'configs/mini/vq_kmeans.py'
    runner = Runner.from_cfg(load_config(str(config), options, work_dir=str(tmp_path)))
    start = {key: value.clone() for key, value in runner.task.state_dict().items()}
    runner.train()
    end = read_checkpoint(tmp_path / 'iter_3.pth')
    for key, value in start.items():
        frozen = key.split('.')[1] in (*HALVES['encoder'], *HALVES['quantizer'])
        assert torch.equal(end['state_dict'][key], value) == frozen, key
        assert not frozen or torch.equal(end['ema_state_dict'][key], value), key
    for number in (2, 3):
        (tmp_path / f'iter_{number}.pth').unlink()
    Runner.from_cfg(load_config(str(config), {**options, 'resume': True}, work_dir=str(tmp_path))).train()
    again = read_checkpoint(tmp_path / 'iter_3.pth')
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert identical(again[part], end[part]), part
