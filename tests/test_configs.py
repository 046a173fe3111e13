"""Every config loads, builds, survives a dump, and differs from its base in what its name claims and in nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.codes import Grid
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.registry import MODELS
from fvq_eval.benchmark.rows import read_rows
from fvq_eval.rehearsal.shrink_config import shrink_config
from fvq_eval.rehearsal.smoke import run_smoke
from tests.needs import marked

CONFIGS = Path(__file__).parents[1] / 'configs'
ROWS = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)
MINI_ROWS = sorted(path.stem for path in (CONFIGS / 'mini').glob('*.py'))

Q = 'model.tokenizer.quantizer'
ANNEALING, RATES = 'param_scheduler.decay', 'optim_wrapper.paramwise_cfg'
COMPRESSED = {f'{Q}.{axis}' for axis in ('projector', 'init')}
HUH = {f'{Q}.{axis}' for axis in ('estimator', 'loss', 'init')}
EMA = {f'{Q}.{axis}' for axis in ('init', 'loss', 'update')}
CVQ = {f'{Q}.{axis}' for axis in ('normalize', 'distance', 'update')}
INNER = {f'{Q}.{key}' for key in ('type', 'quantizer', 'codebook_size', 'code_dim')}
# What each mini row changes of `mini/vq.py`: dotted prefixes of everything that may differ, and must. A row that is not listed
# may change its quantizer and nothing else.
MINI = {
    'alternating': {f'{Q}.{axis}' for axis in ('loss', 'update', 'init')},
    'cvq_closest': CVQ,
    'cvq_probrandom': CVQ,
    'cvq_random': CVQ,
    'diveq': {f'{Q}.estimator', f'{Q}.loss'},
    'ema': EMA,
    'ema_kmeans': EMA,
    'ema_kmeans_restart': EMA,
    'ema_restart': EMA,
    'ema_restart_quarter': EMA,
    'entropy': {f'{Q}.regularizer'},
    'fsq': {f'{Q}.{key}' for key in ('type', 'levels', 'codebook_size', 'code_dim')},
    'fsp': {f'{Q}.{key}' for key in ('type', 'levels', 'codebook_size', 'code_dim')},
    'fvq': COMPRESSED,
    'fvq_dit': COMPRESSED,
    'fvq_no_anneal': {*COMPRESSED, ANNEALING},
    'fvq_uniform': COMPRESSED,
    'gumbel': {f'{Q}.type'},
    'fvq_registers': COMPRESSED,
    'huh': {f'{Q}.projector', *HUH},
    'huh_kmeans': {f'{Q}.update', *HUH},
    'ibq': {f'{Q}.{axis}' for axis in ('distance', 'estimator', 'loss', 'regularizer', 'init')},
    'ifsq': {f'{Q}.{key}' for key in ('type', 'levels', 'codebook_size', 'code_dim', 'symmetric', 'slope')},
    'lfq': {f'{Q}.type', f'{Q}.code_dim'},
    'lgq': {f'{Q}.type', 'default_hooks.run_length'},
    'linear': COMPRESSED,
    'linear_no_anneal': {*COMPRESSED, ANNEALING},
    'linear_uniform': COMPRESSED,
    'llamagen': {f'{Q}.{axis}' for axis in ('code_dim', 'normalize', 'init')},
    'mlp5': COMPRESSED,
    'mlp5_no_anneal': {*COMPRESSED, ANNEALING},
    'mlp5_uniform': COMPRESSED,
    'multi_scale': {*INNER, f'{Q}.num_phi'},
    'multi_scale_bsq': {*INNER, f'{Q}.phi_ratio', f'{Q}.interpolation'},
    'multi_scale_fvq': {*INNER, f'{Q}.num_phi'},
    'ns_vq': {f'{Q}.loss', 'default_hooks.run_length'},
    'orthogonal': {f'{Q}.regularizer'},
    'product': {*INNER, f'{Q}.groups'},
    'reg_vq': {f'{Q}.{axis}' for axis in ('estimator', 'regularizer', 'init')},
    'replace_dead': {f'{Q}.update'},
    'rotation': {f'{Q}.estimator'},
    'rq': {*INNER, f'{Q}.depth', f'{Q}.shared'},
    'rq_fvq': {*INNER, f'{Q}.depth', f'{Q}.shared'},
    'simvq': {f'{Q}.{axis}' for axis in ('projector', 'init', 'update')},
    'transvq': {f'{Q}.{axis}' for axis in ('projector', 'init', 'update')},
    'vq_kmeans': {f'{Q}.init'},
    'vq_kmeans_restart': {f'{Q}.init', f'{Q}.update'},
    'vq_no_anneal': {ANNEALING},
    'vq_tuned': {f'{Q}.init', RATES},
    'wetok': {f'{Q}.{key}' for key in ('type', 'codebook_size', 'code_dim', 'groups', 'pool_groups')},
    'vqgan_lc': {f'{Q}.{axis}' for axis in ('projector', 'init', 'update')},
}
WRAPPED = ('rq', 'rq_fvq', 'multi_scale', 'multi_scale_bsq', 'multi_scale_fvq', 'product')
BRIDGES = ('fvq', 'fvq_registers', 'fvq_no_anneal', 'fvq_uniform', 'fvq_dit', 'rq_fvq', 'multi_scale_fvq')
SCALAR = ('fsp', 'fsq', 'ifsq')
LEVELS = {'k4096': (7, 5, 5, 5, 5), 'k16384': (8, 8, 8, 6, 5)}


def of_a_code(row: str, codes: int) -> int:
    """K of each code of a position."""
    return {'product': codes // 4, 'wetok': math.isqrt(codes)}.get(row, codes)


def sized(row: str, size: str) -> dict[str, Any]:
    """What `--size` sets in a mini row, by dotted path."""
    codes, inner = int(size.removeprefix('k')), f'{Q}.quantizer' if row in WRAPPED else Q
    if row in SCALAR:
        return flat(LEVELS[size], f'{Q}.levels')
    changed: dict[str, Any] = {f'{inner}.codebook_size': of_a_code(row, codes)}
    if row in BRIDGES and size == 'k16384':
        changed[f'{inner}.projector.patch_size'] = 16
    if row == 'vqgan_lc':
        changed[f'{Q}.init.path'] = f'data/codebooks/mini_{codes}.safetensors'
    return changed


# The bases that a row composes, where it is based on no other row.
PHOTOS = '_base_/datasets/bundled_photos.py _base_/models/vqgan_tiny.py _base_/schedules/annealed_400.py'
GPU = '_base_/datasets/photos_128.py _base_/models/vqgan_128.py _base_/schedules/annealed_20k.py'
CONFIRMATORY = '_base_/datasets/photo_tiles_64.py _base_/models/vqgan_64.py _base_/schedules/annealed_1600.py'
# For each row the config (or bases) that it states its difference from, and that difference.
DIFFERENCES: dict[str, tuple[str, set[str]]] = {
    **{f'mini/{row}.py': ('mini/vq.py', MINI.get(row, {Q})) for row in MINI_ROWS},
    'fvq/fvq_photos_gan.py': ('fvq/fvq_photos.py', {'model.adversarial', 'default_hooks.ema'}),
    'baselines/kl_photos.py': ('fvq/fvq_photos.py', {'model.tokenizer', 'val_evaluator'}),
    'baselines/restart_photos.py': ('fvq/fvq_photos.py', {Q}),
    'frozen/fvq_frozen_photos.py': (
        'baselines/kl_photos.py',
        {'model', 'load_from', 'train_dataloader.dataset', 'train_cfg.max_iters', 'val_evaluator'},
    ),
    'baselines/unitok_photos.py': ('fvq/fvq_photos.py', {'model.tokenizer'}),
    'baselines/vit_vqgan_photos.py': ('fvq/fvq_photos.py', {'model.tokenizer', 'default_hooks.report.dataset'}),
    'baselines/titok_photos.py': (
        'fvq/fvq_photos.py',
        {f'model.tokenizer.{key}' for key in ('encoder', 'decoder', 'quant_kernel')}
        | {'optim_wrapper.optimizer.lr', 'default_hooks.report.dataset'},
    ),
    **{
        f'remote/{name}.py': (
            'fvq/fvq_photos.py',
            {f'{split}_dataloader.{key}' for split in ('train', 'val') for key in ('num_workers', 'dataset')}
            | {'default_hooks.report.dataset'},
        )
        for name in ('webdataset', 'huggingface')
    },
    'remote/huggingface_stream.py': (
        'remote/huggingface.py',
        {f'train_dataloader.dataset.{key}' for key in ('type', 'length')},
    ),
    'fvq/fvq_photos.py': (
        'mini/fvq.py',
        {'model.reconstruction_loss.weight', f'{Q}.projector.patch_size', 'optim_wrapper.optimizer.lr'}
        | {'train_cfg.max_iters'}
        | {f'{split}_dataloader.dataset.held_out' for split in ('train', 'val')}
        | {'val_dataloader.dataset.crops', 'default_hooks.training_log.interval', 'default_hooks.report.dataset'},
    ),
    'mini/vq.py': (
        PHOTOS,
        {'train_cfg.val_interval', 'val_dataloader.dataset.crops', 'default_hooks.training_log.interval'},
    ),
    'mini/gpu/vq.py': (GPU, set()),
    **{f'mini/gpu/{name}.py': ('mini/gpu/vq.py', COMPRESSED) for name in ('linear', 'mlp5', 'fvq')},
    'confirmatory/vq.py': (CONFIRMATORY, {'sweep'}),
    'confirmatory/ema_restart.py': (
        'confirmatory/vq.py',
        {f'{Q}.loss', f'{Q}.update', 'sweep.row', 'sweep.start', 'sweep.codes'},
    ),
    'confirmatory/linear.py': ('confirmatory/vq.py', {f'{Q}.projector', 'sweep.row', 'sweep.start'}),
    'confirmatory/mlp5.py': ('confirmatory/linear.py', {f'{Q}.projector', 'sweep.row'}),
    'confirmatory/fvq.py': ('confirmatory/linear.py', {f'{Q}.projector', 'sweep.row'}),
    'confirmatory/simvq.py': ('confirmatory/linear.py', {f'{Q}.update', 'sweep.row', 'sweep.codes'}),
    'confirmatory/figure3/linear.py': ('confirmatory/linear.py', {'sweep', f'{Q}.init'}),
    'confirmatory/figure3/linear_constant.py': ('confirmatory/figure3/linear.py', {ANNEALING}),
    'mini/q1/sweep.py': ('mini/vq.py', {'sweep', 'refused'}),
    'mini/q1/measured.py': ('mini/vq.py', {'sweep', 'default_hooks.code_step'}),
    'mini/q1/matched.py': (
        'mini/q1/measured.py',
        {'sweep.projector.matched_vq', 'sweep.projector.matched_linear', 'sweep.projector.measured_vq'}
        | {'sweep.projector.measured_linear', 'sweep.projector.measured_fvq', 'default_hooks.code_step.match'},
    ),
    'mini/q1/dense.py': ('mini/vq.py', {'sweep'}),
    'mini/q3/sweep.py': ('mini/fvq.py', {'sweep'}),
    'mini/q4/sweep.py': ('mini/fvq.py', {'sweep'}),
    'mini/q5/sweep.py': ('mini/vq.py', {'sweep'}),
    'mini/q2/sweep.py': ('mini/fvq.py', {'sweep', 'default_hooks.fold'}),
    'mini/frozen/sweep.py': (
        'frozen/fvq_frozen_photos.py',
        {'sweep', f'{Q}.projector', f'{Q}.init', 'train_cfg.max_iters', 'val_dataloader.dataset.crops'},
    ),
    'mini/sweeps/batch.py': ('mini/vq.py', {'sweep'}),
    'mini/sweeps/codebook_step.py': ('mini/vq.py', {'sweep'}),
    'mini/sweeps/frozen_raw.py': ('mini/vq.py', {'sweep', f'{Q}.init'}),
    'mini/sweeps/output_scale.py': ('mini/fvq.py', {'sweep'}),
    'mini/sweeps/patch_size.py': ('mini/fvq.py', {'sweep'}),
}
# Cells to train and cells refused of each sweep.
SWEEPS = {
    'mini/q1/sweep.py': (14, 13),
    'mini/q1/measured.py': (3, 0),
    'mini/q1/matched.py': (2, 0),
    'mini/q1/dense.py': (8, 0),
    'mini/q2/sweep.py': (4, 0),
    'mini/q3/sweep.py': (12, 0),
    'mini/q4/sweep.py': (12, 0),
    'mini/q5/sweep.py': (9, 0),
    'mini/frozen/sweep.py': (8, 0),
    'mini/sweeps/batch.py': (9, 0),
    'mini/sweeps/codebook_step.py': (9, 0),
    'mini/sweeps/frozen_raw.py': (6, 0),
    'mini/sweeps/output_scale.py': (5, 0),
    'mini/sweeps/patch_size.py': (4, 0),
}


def flat(node: Any, path: str = '') -> dict[str, Any]:
    """Leaves of a config by dotted path."""
    if isinstance(node, dict) and node:
        return {
            key: value for name in node for key, value in flat(node[name], f'{path}.{name}' if path else name).items()
        }
    if isinstance(node, list | tuple) and node:
        return {key: value for index, item in enumerate(node) for key, value in flat(item, f'{path}.{index}').items()}
    return {path: node}


def leaves(names: str, size: str | None = None) -> dict[str, Any]:
    """Leaves of a config, or of the bases, separated by spaces, that a config composes."""
    found = {}
    for name in names.split():
        found |= flat(load_config(str(CONFIGS / name), size=size).to_dict())
    del found['work_dir']
    return found


@pytest.mark.parametrize('name', sorted(DIFFERENCES))
def test_a_row_changes_what_its_name_claims_and_nothing_else(name: str) -> None:
    base_name, prefixes = DIFFERENCES[name]
    base, row = leaves(base_name), leaves(name)
    changed = {key for key in base.keys() | row.keys() if base.get(key, KeyError) != row.get(key, KeyError)}
    assert all(any(key == p or key.startswith(f'{p}.') for p in prefixes) for key in changed), changed
    for prefix in prefixes:
        assert any(key == prefix or key.startswith(f'{prefix}.') for key in changed), f'{prefix} does not differ'


@pytest.mark.parametrize('size', sorted(LEVELS))
@pytest.mark.parametrize('row', MINI_ROWS)
def test_a_size_changes_the_codebook_of_a_row_and_nothing_else(row: str, size: str) -> None:
    base, larger = leaves(f'mini/{row}.py'), leaves(f'mini/{row}.py', size)
    assert larger == {
        **{key: value for key, value in base.items() if not key.startswith(f'{Q}.levels.')},
        **sized(row, size),
        'size': size,
    }
    with torch.device('meta'):
        quantizer = MODELS.build(load_config(str(CONFIGS / f'mini/{row}.py'), size=size).model).tokenizer.quantizer
    if row == 'multi_scale_bsq':  # a label for each bit
        assert quantizer.vocabularies == (2,) * (int(size.removeprefix('k')).bit_length() - 1)
        return
    codes = math.prod(LEVELS[size]) if row in SCALAR else of_a_code(row, int(size.removeprefix('k')))
    assert quantizer.layout(Grid(16, 16)).vocab_size == codes


def test_the_smallest_size_is_the_row_as_it_stands() -> None:
    assert leaves('mini/fvq.py', 'k1024') == leaves('mini/fvq.py')


def test_overrides_and_configs_on_top_have_the_last_word_on_a_size(tmp_path: Path) -> None:
    cfg = load_config(str(CONFIGS / 'mini/fvq.py'), {f'{Q}.projector.patch_size': 8}, size='k16384')
    assert cfg.model.tokenizer.quantizer.projector.patch_size == 8
    (tmp_path / 'mine.py').write_text("base = 'configs/mini/fvq.py'\nsizes = dict(k4096=dict(patch_size=2))\n")
    cfg = load_config(str(tmp_path / 'mine.py'), size='k4096')
    assert (cfg.work_dir, cfg.size) == ('work_dirs/mine_k4096', 'k4096')
    quantizer = cfg.model.tokenizer.quantizer
    assert (quantizer.codebook_size, quantizer.projector.patch_size) == (4096, 2)
    assert 'sizes' not in cfg


@pytest.mark.parametrize(
    ('path', 'size', 'message'),
    [
        ('mini/fvq.py', 'k409', "has no size 'k409'; did you mean 'k4096'"),
        ('fvq/fvq_16k.py', 'k4096', 'declares no sizes; leave out --size'),
        ('mini/k4096/fvq.py', None, r'does not exist; give \S*configs/mini/fvq\.py --size k4096$'),
        ('mini/k16384/*.py', None, r'does not exist; give \S*configs/mini/\*\.py --size k16384$'),
        ('mini/k16384/fvqq.py', None, r'fvqq\.py does not exist; '),
    ],
)
def test_a_size_that_is_not_there_is_refused_with_what_to_give(path: str, size: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(str(CONFIGS / path), size=size)


@pytest.mark.parametrize(
    ('path', 'hint'),
    [
        ('fvq_photos', "did you mean 'configs/fvq/fvq_photos.py'?"),
        ('configs/fvq_photos.py', "did you mean 'configs/fvq/fvq_photos.py'?"),
        ('configs/fvq/fvq_photo.py', "did you mean 'fvq_photos.py'?"),
        ('0123456789', '`fvq zoo` lists those of FVQ.'),
    ],
)
def test_a_config_that_is_not_there_is_refused_with_the_nearest_of_all(path: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(caught.value) == f'config {path} does not exist; {hint}'


@pytest.mark.parametrize(
    ('sizes', 'message'),
    [
        ('dict(k9=dict(levls=9))', "its quantizer has no levls for size 'k9' to set"),
        ('dict(k9=9)', 'sizes.k9.*9'),
        ("['k9']", "sizes.* got .*'k9'"),
    ],
)
def test_a_size_that_cannot_be_set_is_refused(sizes: str, message: str, tmp_path: Path) -> None:
    (tmp_path / 'mine.py').write_text(f"base = 'configs/fvq/fvq_photos.py'\nsizes = {sizes}\n")
    with pytest.raises(UserError, match=message):
        load_config(str(tmp_path / 'mine.py'), size='k9')


@pytest.mark.parametrize(
    ('folder', 'size'), [('mini', None), ('mini', 'k4096'), ('mini', 'k16384'), ('mini/gpu', None)]
)
def test_linear_mlp5_and_fvq_have_the_same_raw_codebook_and_schedule(folder: str, size: str | None) -> None:
    rows = [
        {k: v for k, v in leaves(f'{folder}/{n}.py', size).items() if '.projector' not in k}
        for n in ('linear', 'mlp5', 'fvq')
    ]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0][f'{Q}.init.std'] == 1.0


def test_the_cells_of_the_sweeps_build_and_fit_one_report() -> None:
    rows = read_rows([str(CONFIGS / name) for name in SWEEPS], {})  # refuses two cells of one name
    refused = [[bool(row.refusal) for row in rows if row.source == str(CONFIGS / name)] for name in SWEEPS]
    assert {
        name: (cells.count(False), cells.count(True)) for name, cells in zip(SWEEPS, refused, strict=True)
    } == SWEEPS


@pytest.mark.parametrize('name', marked(ROWS))
def test_a_dumped_config_builds_the_same_model(name: str, tmp_path: Path) -> None:
    cfg = load_config(str(CONFIGS / name))
    cfg.dump(str(tmp_path / 'dumped.py'))
    again = load_config(str(tmp_path / 'dumped.py'))
    for each in (cfg, again):
        if 'generator' in each.model:
            each.model.pop('tokenizer', None)  # a folder that training makes
    with torch.device('meta'):
        one, other = MODELS.build(cfg.model), MODELS.build(again.model)
    shapes = [{key: value.shape for key, value in task.state_dict().items()} for task in (one, other)]
    assert shapes[0] == shapes[1]
    assert repr(one) == repr(other)


@pytest.mark.parametrize('name', [name for name in ROWS if name.startswith(('baselines/', 'frozen/'))])
def test_a_config_builds_at_the_size_of_a_smoke_run(name: str) -> None:
    cfg = shrink_config(load_config(str(CONFIGS / name)))
    with torch.device('meta'):
        layout = MODELS.build(cfg.model).tokenizer.layout(64, 64)
    assert 1 <= layout.positions.length <= 256


@pytest.mark.parametrize(
    'name',
    [
        'fvq/fvq_16k.py',
        'fvq/fvq_photos_gan.py',
        'mini/rq_fvq.py',
        'mini/ibq.py',
        'mini/ema_restart.py',
        'generation/fvq_l.py',
        'baselines/vae_mar.py',
        'baselines/titok_l32_stage1.py',
        'baselines/titok_l32.py',
        'frozen/fvq_frozen_photos.py',
    ],
)
def test_smoke_trains_saves_tests_resumes_and_exports(name: str, tmp_path: Path) -> None:
    cfg = shrink_config(load_config(str(CONFIGS / name), work_dir=str(tmp_path)))
    proven: list[str] = []
    run_smoke(cfg, proven.append)
    assert [line.split(':')[0] for line in proven] == ['trains', 'saves', 'tests', 'resumes', 'exports']
