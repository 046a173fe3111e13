"""Starting a run from weights: of another run, of a saved tokenizer, of another project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.commands import train
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.registry import MODELS
from fvq_core.training.runner import Runner
from fvq_core.training.start_weights import StartWeights, find_start_weights
from fvq_core.training.tasks import TokenizerTask

from ..tiny import FVQ, tiny_tokenizer, tokenizer_config

CONFIGS = Path(__file__).parents[2] / 'configs/mini'
KMEANS_ROW = str(CONFIGS / 'vq_kmeans.py')
TINY = {
    'train_dataloader.batch_size': 2,
    'val_dataloader.dataset.crops': 2,
    'train_cfg.max_iters': 1,
    'default_hooks.report': None,
    'model.tokenizer.quantizer.codebook_size': 16,
}
PLAIN = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)
DISCRIMINATOR = dict(type='AdversarialLoss', discriminator=dict(type='PatchGAN', ch=4, layers=1))


def task_of(quantizer: Any = PLAIN, **parts: Any) -> TokenizerTask:
    config = dict(tokenizer=tokenizer_config(quantizer), reconstruction_loss=dict(type='L2Loss'), **parts)
    return MODELS.build(dict(type='TokenizerTask', **config))


def started(task: TokenizerTask, source: Any, weights: Any = None) -> StartWeights:
    found = find_start_weights(task, source, weights)
    found.load(task)
    return found


def checkpoint_of(task: TokenizerTask, path: Path, **more: Any) -> Path:
    torch.save({'meta': {}, 'state_dict': task.state_dict(), **more}, path)
    return path


def test_a_codebook_that_starts_from_latents_is_kept_if_weights_are_loaded(tmp_path: Path) -> None:
    Runner.from_cfg(load_config(KMEANS_ROW, TINY, work_dir=str(tmp_path / 'first'))).train()
    cfg = load_config(KMEANS_ROW, {**TINY, 'optim_wrapper.optimizer.lr': 0.0}, work_dir=str(tmp_path / 'second'))
    cfg.load_from = str(tmp_path / 'first/iter_1.pth')
    second = Runner.from_cfg(cfg)
    second.train()
    loaded = torch.load(cfg.load_from, weights_only=False)['state_dict']['tokenizer.quantizer.embedding']
    assert torch.equal(second.task.tokenizer.quantizer.embedding.detach().cpu(), loaded)


@pytest.mark.parametrize(
    ('axes', 'restarted'),
    [
        ({}, False),
        (dict(init=dict(type='KMeansInit')), True),
        (dict(update=dict(type='EMAUpdate', start_count=2.0)), True),
        (dict(update=dict(type='CVQUpdate')), True),
    ],
)
def test_a_saved_tokenizer_is_trained_further_whatever_moves_its_codebook(axes: Any, restarted: bool, tmp_path: Path):
    saved = tiny_tokenizer(FVQ)
    saved.fold().save_pretrained(tmp_path / 'saved')
    task = task_of({**PLAIN, **axes})
    said = started(task, tmp_path / 'saved').summary
    for key, value in saved.fold().state_dict().items():
        assert torch.equal(task.tokenizer.state_dict()[key], value), key
    assert ("starts afresh: what the codebook's update keeps" in said) == restarted
    quantizer = task.tokenizer.quantizer
    assert not quantizer.needs_init
    if 'start_count' in axes.get('update', {}):
        assert torch.equal(quantizer.update.sums_KD, 2.0 * saved.quantizer.codebook())


def test_a_folded_tokenizer_and_a_config_with_a_projector_do_not_go_together(tmp_path: Path):
    tiny_tokenizer(FVQ).fold().save_pretrained(tmp_path / 'saved')
    with pytest.raises(
        UserError, match=r'folded out of its projector, and this config would map it once more; start from'
    ):
        find_start_weights(task_of(FVQ), tmp_path / 'saved')


def test_a_tokenizer_that_was_saved_with_its_projector_keeps_it_or_is_folded(tmp_path: Path):
    saved = tiny_tokenizer(FVQ)
    saved.save_pretrained(tmp_path / 'saved')
    with_projector, without = task_of(FVQ), task_of(PLAIN)
    assert started(with_projector, tmp_path / 'saved').summary.endswith('saved: tokenizer')
    assert started(without, tmp_path / 'saved').summary.endswith('saved: tokenizer')
    codebook = saved.quantizer.codebook()
    for task in (with_projector, without):
        assert torch.equal(task.tokenizer.quantizer.codebook(), codebook)
    assert torch.equal(with_projector.tokenizer.quantizer.embedding, saved.quantizer.embedding)


def test_a_checkpoint_without_a_discriminator_starts_a_recipe_with_one(tmp_path: Path):
    first = task_of()
    path = checkpoint_of(first, tmp_path / 'iter_1.pth')
    second = task_of(adversarial=DISCRIMINATOR)
    fresh = {key: value.clone() for key, value in second.adversarial.state_dict().items()}
    assert started(second, path).summary == f'started from {path}: tokenizer; starts afresh: adversarial'
    assert all(torch.equal(second.adversarial.state_dict()[key], value) for key, value in fresh.items())
    assert all(
        torch.equal(second.tokenizer.state_dict()[key], value) for key, value in first.tokenizer.state_dict().items()
    )
    whole = checkpoint_of(second, tmp_path / 'iter_2.pth')
    assert started(task_of(adversarial=DISCRIMINATOR), whole).summary == f'started from {whole}: adversarial, tokenizer'
    wider = dict(DISCRIMINATOR, discriminator=dict(type='PatchGAN', ch=8, layers=1))
    assert 'starts afresh: adversarial (another one is there)' in started(task_of(adversarial=wider), whole).summary
    assert started(task_of(), whole).summary.endswith('left out: adversarial')


def test_the_moving_average_of_a_checkpoint_goes_first_and_either_can_be_chosen(tmp_path: Path):
    raw, average = task_of(), task_of()
    path = checkpoint_of(raw, tmp_path / 'iter_1.pth', ema_state_dict=average.state_dict())
    for choice, wanted, words in ((None, average, 'moving average'), ('ema', average, ''), ('raw', raw, 'raw weights')):
        task = task_of()
        assert words in started(task, path, choice).summary
        assert torch.equal(task.tokenizer.quantizer.embedding, wanted.tokenizer.quantizer.embedding)
    with pytest.raises(UserError, match="no moving average; set load_weights='raw'"):
        find_start_weights(raw, checkpoint_of(raw, tmp_path / 'iter_2.pth'), 'ema')


def test_what_computes_differently_with_the_same_weights_is_named(tmp_path: Path):
    tiny_tokenizer(dict(PLAIN, normalize=dict(type='L2Normalize'))).save_pretrained(tmp_path / 'saved')
    said = started(task_of(), tmp_path / 'saved').summary
    assert said.endswith('unlike what was saved: quantizer.normalize is L2Normalize there and NoNormalization here')


def test_a_tokenizer_of_another_size_is_refused_by_shape(tmp_path: Path):
    tiny_tokenizer(dict(PLAIN, code_dim=16)).save_pretrained(tmp_path / 'saved')
    with pytest.raises(
        UserError,
        match=r'another model: 4 of another shape \(post_quant.weight is .*; --fresh post_quant pre_quant quantizer',
    ):
        find_start_weights(task_of(), tmp_path / 'saved')


def test_a_run_starts_from_a_checkpoint_of_the_run_that_it_sets_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    row, work_dir = str(CONFIGS / 'vq.py'), tmp_path / 'run'
    Runner.from_cfg(load_config(row, TINY, work_dir=str(work_dir))).train()
    monkeypatch.setenv('HOME', str(tmp_path))
    cfg = load_config(row, {**TINY, 'optim_wrapper.optimizer.lr': 0.0}, work_dir=str(work_dir), seed=7)
    cfg.load_from = '~/run/iter_1.pth'
    Runner.from_cfg(cfg).train()
    one, other = (
        torch.load(path, weights_only=True)['state_dict'] for path in sorted(work_dir.rglob('iter_1.pth'), key=str)
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_that_started_from_weights_is_resumed_from_its_own_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    row, work_dir = str(CONFIGS / 'vq.py'), tmp_path / 'run'
    MODELS.build(load_config(row, TINY).model).tokenizer.save_pretrained(tmp_path / 'saved')
    begun, went_on = (
        f'started from {tmp_path / "saved"}: tokenizer',
        f'resumed {work_dir / "iter_1.pth"} at iteration 1',
    )
    for iters, resume in ((1, True), (2, True), (2, str(work_dir / 'iter_1.pth'))):
        options = {**TINY, 'train_cfg.max_iters': iters, 'load_from': str(tmp_path / 'saved')}
        cfg = load_config(row, options, work_dir=str(work_dir))
        cfg.resume = resume
        Runner.from_cfg(cfg).train()
        (work_dir / 'iter_2.pth').unlink(missing_ok=True)
        said = capsys.readouterr().out
        assert (begun in said, went_on in said) == (iters == 1, iters == 2)


@pytest.mark.parametrize(
    ('source', 'said'),
    [
        ('run', r'is the folder of a run; start from .*run/tokenizer or from an iter_N\.pth'),
        ('elsewhere', r'elsewhere is not a saved tokenizer: there is no such folder'),
        ('peer.pth', r"no 'state_dict'; a peer's checkpoint is imported with tools/convert\.py"),
    ],
)
def test_a_start_that_is_not_one_costs_a_line_and_no_folder(
    source: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tiny_tokenizer(PLAIN).save_pretrained(tmp_path / 'run/tokenizer')
    torch.save({'model': {}}, tmp_path / 'peer.pth')
    arguments = [str(CONFIGS / 'vq.py'), '--work-dir', str(tmp_path / 'new')]
    assert train.main([*arguments, '--cfg-options', f'load_from={tmp_path / source}']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line)
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('part', ['tokenizer.encoder.conv_in.bias', 'adversarial.discriminator'])
def test_a_start_from_weights_that_are_not_finite_is_refused_by_name(tmp_path: Path, part: str):
    task = task_of(adversarial=DISCRIMINATOR)
    name = next(key for key in task.state_dict() if key.startswith(part))
    with torch.no_grad():
        task.state_dict()[name].view(-1)[0] = float('nan')
    with pytest.raises(UserError, match=rf"{re.escape(name.split('.', 1)[1])}' is not finite"):
        started(task_of(adversarial=DISCRIMINATOR), checkpoint_of(task, tmp_path / 'iter_1.pth'))


@pytest.mark.parametrize(
    ('part', 'message'),
    [
        (dict(optimizer={}), r"iter_1\.pth has the state of optimizers \[\], this run has \['"),
        (dict(optimizer={'x': 3}), r"iter_1\.pth has the state of optimizers \['x'\]"),
        (dict(param_schedulers={}), r'iter_1\.pth holds 0 scheduler\(s\) of the tokenizer'),
        (dict(meta=dict(iter='1', seed=0)), r"iter_1\.pth: 'iter' or 'seed' in 'meta' is not a whole number"),
        (dict(meta=dict(iter=1)), r"iter_1\.pth: 'iter' or 'seed' in 'meta' is not a whole number"),
    ],
)
def test_a_checkpoint_with_a_damaged_state_is_not_resumed(
    part: dict[str, Any], message: str, first_run: Runner, tmp_path: Path
) -> None:
    whole = torch.load(Path(first_run.work_dir) / 'iter_1.pth', weights_only=True)
    torch.save({**whole, **part}, tmp_path / 'iter_1.pth')
    with pytest.raises(UserError, match=message) as told:
        first_run.resume(str(tmp_path / 'iter_1.pth'))
    assert '\n' not in str(told.value)


@pytest.fixture(scope='module')
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A run of one iteration, with its checkpoint."""
    work_dir = str(tmp_path_factory.mktemp('first'))
    runner = Runner.from_cfg(load_config(str(CONFIGS / 'vq.py'), TINY, work_dir=work_dir))
    runner.train()
    return runner
