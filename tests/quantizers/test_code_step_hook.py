"""Steps of the mapped codes: measured as they are, scaled to another run's by one factor, and the rows that use it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZER_LOSSES, QUANTIZERS
from fvq_core.training.hooks.history import HISTORY_NAME, History
from fvq_core.training.runner import Runner
from fvq_eval.benchmark.rows import Row, read_rows
from fvq_quantizers.code_step_hook import CodeStepHook, code_step, scale_step
from tests.tiny import tiny_tokenizer

MINI = Path(__file__).parents[2] / 'configs/mini'
STEPS = 6
TINY = {
    'train_dataloader.batch_size': 2,
    'val_dataloader.dataset.crops': 2,
    'train_cfg.max_iters': STEPS,
    'default_hooks.checkpoint.interval': 3,
    'default_hooks.checkpoint.max_keep': 0,
    'default_hooks.report': None,
    'model.tokenizer.quantizer.codebook_size': 64,
}
LINEAR = dict(type='VectorQuantizer', codebook_size=8, code_dim=4, projector=dict(type='LinearProjector'))


def rows_of(name: str, **options: Any) -> dict[str, Row]:
    return {row.name: row for row in read_rows([str(MINI / name)], {**TINY, **options})}


def config_of(name: str, row: str, work_dir: Path, **options: Any) -> Config:
    cfg = rows_of(name, **options)[row].cfg
    assert cfg is not None
    cfg.work_dir = str(work_dir)
    return cfg


def steps_of(work_dir: Path) -> list[dict[str, Any]]:
    return [row for row in History(work_dir / HISTORY_NAME).rows() if row['split'] == 'codes']


def test_the_step_is_the_rms_distance_of_the_mapped_codes() -> None:
    quantizer: Any = QUANTIZERS.build(dict(type='VectorQuantizer', codebook_size=8, code_dim=4))
    before = quantizer.codebook().detach().clone()
    with torch.no_grad():
        quantizer.embedding[:4] += torch.tensor([3.0, 0.0, 4.0, 0.0])  # half of the codes, by 5
    assert code_step(quantizer, before) == pytest.approx((4 * 25.0 / 8) ** 0.5)


@pytest.mark.parametrize('target', [0.01, 0.5, 3.0])
def test_a_step_is_scaled_by_one_factor_until_the_mapped_codes_move_as_far_as_asked(target: float) -> None:
    torch.manual_seed(0)
    quantizer: Any = QUANTIZERS.build(LINEAR)
    parameters = list(quantizer.parameters())
    with torch.no_grad():
        before, mapped = [p.clone() for p in parameters], quantizer.map(quantizer.embedding).clone()
        change = [torch.randn_like(p) * 0.3 for p in parameters]
        for parameter, moved in zip(parameters, change, strict=True):
            parameter += moved
        got = scale_step(quantizer, before, mapped, target)
    assert got == pytest.approx(target, rel=1e-3)
    assert code_step(quantizer, mapped) == got  # measured, although codes are a product of two things that moved
    factors = torch.cat([((p - b) / c).flatten() for p, b, c in zip(parameters, before, change, strict=True)])
    assert factors.std() < 1e-3 * factors.mean().abs()


def test_a_linear_codebook_takes_the_steps_that_vqbridge_took(tmp_path: Path) -> None:
    Runner.from_cfg(config_of('q1/measured.py', 'measured_fvq', tmp_path / 'fvq')).train()
    targets = steps_of(tmp_path / 'fvq')
    assert [row['iter'] for row in targets] == list(range(1, STEPS + 1))
    assert all(row['code_step'] > 0 and 'code_step_own' not in row for row in targets)
    match = {'default_hooks.code_step.match': str(tmp_path / 'fvq' / HISTORY_NAME)}
    Runner.from_cfg(config_of('q1/matched.py', 'matched_linear', tmp_path / 'linear', **match)).train()
    matched = steps_of(tmp_path / 'linear')
    for row, target in zip(matched, targets, strict=True):
        assert row['code_step'] == pytest.approx(target['code_step'], rel=1e-3)
    assert any(abs(row['code_step_own'] / row['code_step'] - 1) > 0.05 for row in matched)
    # resumed in the middle, it takes the same steps
    (tmp_path / 'resumed').mkdir()
    shutil.copy(tmp_path / 'linear/iter_3.pth', tmp_path / 'resumed')
    shutil.copy(tmp_path / 'linear' / HISTORY_NAME, tmp_path / 'resumed')
    cfg = config_of('q1/matched.py', 'matched_linear', tmp_path / 'resumed', **match)
    cfg.resume = True
    Runner.from_cfg(cfg).train()
    assert steps_of(tmp_path / 'resumed') == matched


def test_what_cannot_be_measured_or_matched_is_refused(tmp_path: Path) -> None:
    def runner(quantizer: dict[str, Any]) -> Any:
        tokenizer = tiny_tokenizer(quantizer)
        return SimpleNamespace(task=SimpleNamespace(tokenizer=tokenizer), work_dir=str(tmp_path), max_iters=2, seed=0)

    plain = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)
    with pytest.raises(UserError, match='needs a VectorQuantizer, got LFQ'):
        CodeStepHook().before_run(runner(dict(type='LFQ', codebook_size=256, code_dim=8)))
    ema = dict(plain, update=dict(type='EMAUpdate'), loss=dict(type='VQLoss', codebook_weight=0.0))
    with pytest.raises(UserError, match='EMAUpdate moves codes without the optimizer'):
        CodeStepHook(match='file').before_run(runner(ema))
    History(tmp_path / 'short.jsonl').append({'iter': 1, 'split': 'codes', 'code_step': 0.1})
    with pytest.raises(UserError, match='has no code_step of iteration 2 of 2'):
        CodeStepHook(match=str(tmp_path / 'short.jsonl')).before_run(runner(plain))


def test_dense_rows_pull_every_code_near_a_latent_and_the_row_beside_them_only_the_chosen() -> None:
    torch.manual_seed(0)
    z, codebook = torch.randn(20, 4), torch.randn(8, 4, requires_grad=True)
    indices = torch.cdist(z, codebook).argmin(1)

    def gradient(loss: Any) -> torch.Tensor:
        built = QUANTIZER_LOSSES.build(loss)
        more = (codebook,) if loss['type'] == 'NonStationaryLoss' else ()
        terms = built(z, F.embedding(indices, codebook), z, *more)
        return torch.autograd.grad(sum(terms.values()), codebook)[0]

    losses = {name: row.cfg.model.tokenizer.quantizer.loss for name, row in rows_of('q1/dense.py').items() if row.cfg}
    chosen = gradient(losses['chosen_normal'])
    assert torch.allclose(chosen, gradient(dict(type='VQLoss')), atol=1e-6)
    dense = gradient(losses['dense_3_normal'])
    unused = torch.bincount(indices, minlength=8) == 0
    assert unused.any(), 'else this shows nothing'
    assert (chosen[unused] == 0).all()
    assert (dense[unused].abs().sum(1) > 0).all()


def test_the_cells_of_the_open_questions_are_what_they_are_called() -> None:
    bridges = {name: row.cfg for name, row in rows_of('q3/sweep.py').items()}
    default = load_config(str(MINI / 'fvq.py'), TINY)
    ours: Any = QUANTIZERS.build(bridges['vit_scale_01_normal'].model.tokenizer.quantizer)
    same: Any = QUANTIZERS.build(default.model.tokenizer.quantizer)
    assert repr(ours) == repr(same)
    released: Any = QUANTIZERS.build(bridges['dit_scale_0_uniform'].model.tokenizer.quantizer)
    assert not released.codebook().any()  # every code starts at zero
    assert released.embedding.abs().max() <= 1 / 64
    for cell, row in rows_of('q4/sweep.py', **{'model.tokenizer.quantizer.codebook_size': 1024}).items():
        _, codes, _, patch = cell.split('_')
        quantizer = row.cfg.model.tokenizer.quantizer
        assert (quantizer.codebook_size, quantizer.projector.patch_size) == (int(codes), int(patch))
        assert row.codebook_size == int(codes)
    for cell, row in rows_of('q5/sweep.py').items():
        _, codes, name = cell.split('_')
        bits = row.bits_per_image / row.codes_per_image
        assert 2**bits == int(codes), 'rows of one size have equal bits'
        assert (row.cfg.model.tokenizer.quantizer.get('projector') is not None) == (name == 'fvq')
