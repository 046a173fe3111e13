"""Training a generator: what decays, micro-batches, compiled blocks, and whole runs through the Runner."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.codes import Codes, Targets
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.images import from_uint8
from fvq_core.ops.identical import identical
from fvq_core.registry import MODELS
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_core.training.runner import Runner
from fvq_core.training.schedules.warmup_hold_decay import lr_multiplier
from fvq_core.training.start_weights import find_start_weights
from fvq_eval.rehearsal.shrink_config import logged
from fvq_generators import VAR
from fvq_generators.optim import DecayByDimension
from fvq_generators.pretrained import checkpoint_generator, load_generator, save_generator
from fvq_generators.tasks import GeneratorTask

from .tiny import GRID, NO_DROPOUT, generator_config, write_codes

AVERAGED = {'default_hooks.ema.type': 'EMAHook', 'default_hooks.ema.decay': 0.5, 'train_cfg.accumulate': 2}
SGD = dict(type='ClippedOptimWrapper', optimizer=dict(type='SGD', lr=0.1), max_norm=None)


def make_task(generator: dict[str, Any] | None = None, **options: Any) -> GeneratorTask:
    torch.manual_seed(0)
    config = generator_config(**NO_DROPOUT, cond_dropout=0.0, **(generator or {}))
    task = MODELS.build(dict(type='GeneratorTask', generator=config, **options))
    torch.nn.init.normal_(task.generator.head.weight, std=0.1)
    return task.place(torch.device('cpu')).train()


def batch(size: int = 6) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    codes, labels = torch.randint(32, (size, 12), generator=rng), torch.randint(5, (size,), generator=rng)
    return {'codes': codes, 'labels': labels}


def weights_after_a_step(task: GeneratorTask, data: list[dict[str, Tensor]], **options: Any) -> dict[str, Tensor]:
    task.train_step(data, build_optim_wrappers({**SGD, **options}, task.parts()), 0)
    return task.state_dict()


@pytest.mark.parametrize('kind', ['class', 'caption', 'learned'])
def test_every_parameter_of_two_or_more_dimensions_decays_and_no_other(kind: str):
    changes = dict(caption=dict(caption_dim=6, caption_tokens=4), learned=dict(positions='learned')).get(kind, {})
    task = make_task(changes)
    optimizer = dict(type='AdamW', lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05)
    wrappers = build_optim_wrappers({**SGD, 'constructor': DecayByDimension, 'optimizer': optimizer}, task.parts())
    names = {id(parameter): name for name, parameter in task.generator.named_parameters()}
    decays, rests = wrappers['generator'].optimizer.param_groups
    assert (decays['weight_decay'], rests['weight_decay']) == (0.05, 0.0)
    decayed = {names[id(parameter)] for parameter in decays['params']}
    assert {'code_embedding.weight', 'head.weight', 'blocks.0.attention.qkv.weight'} <= decayed
    assert ('position_embedding' in decayed) == (kind == 'learned')
    assert {names[id(parameter)] for parameter in rests['params']} == {
        name for name in names.values() if 'norm' in name
    }
    assert len(decays['params']) + len(rests['params']) == len(names)


def test_parameters_that_a_config_names_do_not_decay():
    task = make_task({'positions': 'learned'})
    wrapper = {**SGD, 'constructor': DecayByDimension, 'paramwise_cfg': dict(no_decay=['position_embedding', 'qkv'])}
    decays, rests = build_optim_wrappers(wrapper, task.parts())['generator'].optimizer.param_groups
    names = {id(parameter): name for name, parameter in task.generator.named_parameters()}
    assert not any('qkv' in names[id(parameter)] for parameter in decays['params'])
    spared = {names[id(parameter)] for parameter in rests['params'] if parameter.dim() > 1}
    assert spared == {'position_embedding', 'blocks.0.attention.qkv.weight', 'blocks.1.attention.qkv.weight'}
    with pytest.raises(UserError, match='paramwise_cfg takes no_decay, got'):
        build_optim_wrappers({**wrapper, 'paramwise_cfg': dict(custom_keys={})}, task.parts())


def test_a_run_starts_from_a_saved_generator_and_not_from_a_tokenizer(tmp_path: Path):
    saved = make_task({'positions': 'learned'}).generator
    save_generator(saved, saved.state_dict(), tmp_path / 'saved')
    task = MODELS.build(dict(type='GeneratorTask', generator=generator_config(positions='learned', cond_dropout=0.0)))
    start = find_start_weights(task, tmp_path / 'saved')
    start.load(task)
    assert start.summary.startswith(f'started from {tmp_path / "saved"}: generator')
    assert all(torch.equal(task.generator.state_dict()[key], value) for key, value in saved.state_dict().items())
    with pytest.raises(UserError, match='holds weights of another model'):
        find_start_weights(MODELS.build(dict(type='GeneratorTask', generator=generator_config())), tmp_path / 'saved')
    (tmp_path / 'saved/config.json').write_text('{"tokenizer": {}}')
    with pytest.raises(UserError, match='describes no generator'):
        find_start_weights(task, tmp_path / 'saved')


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_images_are_encoded_in_the_precision_of_the_run(precision: str):
    config = dict(type='VAR', **VAR.smoke({}), num_classes=5)
    task = MODELS.build(dict(type='GeneratorTask', generator=config, tokenizer=VAR.smoke_tokenizer()))
    task.place(torch.device('cpu')).train()
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    optimizers = build_optim_wrappers({**SGD, 'precision': precision}, task.parts())
    got = task.backward(dict(images=images, labels=torch.arange(2)), optimizers, 1)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bfloat16'):
        expected = task.frozen.encode(from_uint8(images))
    assert torch.equal(got.codebook_indices, expected.indices_BL)
    assert len(expected.indices_BL.unique()) > 4


def test_micro_batches_equal_one_batch_of_their_size():
    whole = batch()
    thirds = [{key: value[i : i + 2] for key, value in whole.items()} for i in (0, 2, 4)]
    one = weights_after_a_step(make_task(), [whole])
    torch.testing.assert_close(weights_after_a_step(make_task(), thirds), one, rtol=1e-5, atol=1e-7)
    start = make_task().state_dict()
    assert all(not torch.equal(one[key], start[key]) for key in one if key.endswith('qkv.weight'))


def test_frozen_parts_of_a_generator_stay_as_they_are():
    start = {key: value.clone() for key, value in make_task().state_dict().items()}
    task = make_task(freeze=['blocks', 'code_embedding'])
    assert not task.generator.blocks[0].training
    after = weights_after_a_step(task, [batch()])
    changed = {key.split('.')[1] for key in start if not torch.equal(after[key], start[key])}
    assert changed == {'condition', 'norm', 'head'}
    known = 'it has condition, code_embedding, token_dropout, blocks, norm, head'
    with pytest.raises(UserError, match=rf"model\.freeze: LlamaGen has no part 'block'; {known}\.$"):
        make_task(freeze=['block'])


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # torch's own tracing
@pytest.mark.parametrize('checkpointing', [False, True])
def test_compiled_blocks_equal_eager_ones_and_keep_the_state_dict(checkpointing: bool):
    eager = make_task()
    compiled = make_task(dict(checkpointing=checkpointing), compile='aot_eager')
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    got = weights_after_a_step(compiled, [batch()])
    assert torch._dynamo.utils.counters['frames']['ok'] >= 1
    torch.testing.assert_close(got, weights_after_a_step(eager, [batch()]), rtol=1e-5, atol=1e-6)


def test_autocast_computes_in_half_and_keeps_weights_in_full():
    task, seen = make_task(), {}
    task.generator.blocks[0].ffn.register_forward_hook(lambda module, args, out: seen.update(ffn=out.dtype))
    state = weights_after_a_step(task, [batch()], precision='bfloat16')
    assert seen == {'ffn': torch.bfloat16}
    assert all(value.dtype == torch.float32 for value in state.values())
    torch.testing.assert_close(state, weights_after_a_step(make_task(), [batch()]), rtol=0, atol=2e-3)


def test_captions_train_with_mask_and_weights():
    task = make_task(dict(caption_dim=6, caption_tokens=4))
    codes, captions = batch(2)['codes'], torch.randn(2, 4, 6)
    mask, valid = torch.tensor([[False, True, True, True]] * 2), torch.tensor([1.0, 0.0])
    data = {'codes': codes, 'captions': captions, 'caption_mask': mask, 'valid': valid}
    expected = task.generator.loss(Targets(Codes(codes[:1], task.generator.layout)), captions[:1], mask[:1])[
        'cross_entropy'
    ]
    got = task.train_step([data], build_optim_wrappers(SGD, task.parts()), 0)
    torch.testing.assert_close(got['losses']['cross_entropy'], expected.detach())
    assert torch.equal(got['codebook_indices'], codes)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(labels=torch.tensor([0, 5])), 'class 5 is out of range'),
        (dict(labels=None), "the batch has no 'labels'"),
        (dict(codes=torch.full((2, 12), 32)), r'codes must lie in \[0, 32\)'),
        (dict(codes=torch.zeros(2, 11, dtype=torch.int64)), r'expected codes of shape \(B, 12\)'),
    ],
)
def test_a_batch_that_the_generator_cannot_take_is_refused(changes: dict[str, Any], message: str):
    task = make_task()
    with pytest.raises(UserError, match=message):
        task.train_step([{**batch(2), **changes}], build_optim_wrappers(SGD, task.parts()), 0)


def test_the_schedules_of_the_paper_and_of_llamagen():
    fvq = [lr_multiplier(step, 101, warmup=0, hold=0.05, end_factor=0.01) for step in (0, 4, 5, 100)]
    assert fvq == pytest.approx([1.0, 1.0, 1.0, 0.01])
    assert lr_multiplier(52, 101, warmup=0, hold=0.05, end_factor=0.01) == pytest.approx(1 - 0.99 * 47 / 95)
    assert {lr_multiplier(step, 101, warmup=0, decay='none') for step in range(101)} == {1.0}


def run(folder: Path, data: Path, **options: Any) -> Runner:
    """A tiny run of the smallest config on the CPU."""
    model = generator_config(**NO_DROPOUT)
    changes = {
        **{f'model.generator.{key}': value for key, value in model.items()},
        'train_dataloader.dataset.root': str(data),
        'train_dataloader.dataset.layout': GRID,
        'train_dataloader.dataset.tokenizer_hash': 'f' * 64,
        'train_dataloader.batch_size': 6,
        'train_dataloader.num_workers': 0,
        'optim_wrapper.optimizer.lr': 1e-2,
        'train_cfg.max_iters': 40,
        'default_hooks.checkpoint.interval': 20,
        'default_hooks.training_log.interval': 10,
        'device': 'cpu',
        **options,
    }
    runner = Runner.from_cfg(load_config('configs/generation/llamagen_b.py', changes, work_dir=str(folder)))
    runner.train()
    return runner


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_codes(tmp_path_factory.mktemp('codes'))


@pytest.fixture(scope='module')
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('run')
    run(folder, data, **AVERAGED)
    return folder


def test_a_run_learns_logs_and_leaves_a_generator_that_samples_what_it_saw(finished: Path):
    rows = logged(finished / 'history.jsonl')
    assert rows[0]['loss'] > 1.5
    assert rows[-1]['loss'] < 0.35  # the first code is one of two, the rest follow from it: ln 2 / 12 = 0.06
    assert 60 < rows[-1]['usage_window'] <= 100
    metrics = json.loads((finished / 'metrics.json').read_text())['metrics']
    assert metrics['loss']['value'] == rows[-1]['loss']
    generator, config = load_generator(finished / 'generator')
    assert config['tokenizer_hash'] == 'f' * 64
    assert config['sampling'] == {'cfg_scale': 2.0}
    assert config['weights'] == 'iter_40.pth (average of decay 0.5)'
    classes = torch.arange(5)
    codes = generator.sample(classes, temperature=0.0).indices_BL
    start = codes[:, :1] - (classes * 6)[:, None]
    assert set(start.flatten().tolist()) <= {0, 1}
    assert torch.equal(codes, (codes[:, :1] + torch.arange(12)) % 32)


def test_a_checkpoint_is_a_generator_too_and_names_the_tokenizer_of_its_codes(finished: Path):
    saved, _ = load_generator(finished / 'generator')
    averaged, config = checkpoint_generator(finished / 'iter_40.pth')
    assert identical(averaged.state_dict(), saved.state_dict())
    assert (config['tokenizer_hash'], config['sampling']) == ('f' * 64, {'cfg_scale': 2.0})
    raw, _ = checkpoint_generator(finished / 'iter_40.pth', 'raw')
    assert not identical(raw.state_dict(), saved.state_dict())


def test_a_resumed_run_ends_bit_for_bit_like_one_that_never_stopped(finished: Path, data: Path, tmp_path: Path):
    for name in ('iter_20.pth', 'history.jsonl'):
        shutil.copy(finished / name, tmp_path)
    run(tmp_path, data, resume=True, **AVERAGED)
    expected, got = (read_checkpoint(folder / 'iter_40.pth') for folder in (finished, tmp_path))
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert identical(expected[part], got[part]), part
    assert logged(finished / 'history.jsonl') == logged(tmp_path / 'history.jsonl')


def test_codes_of_another_tokenizer_are_no_codes_to_resume_with(finished: Path, data: Path, tmp_path: Path):
    shutil.copy(finished / 'iter_20.pth', tmp_path)
    other = {'train_dataloader.dataset.tokenizer_hash': 'e' * 64}
    with pytest.raises(
        UserError, match='has learned codes of tokenizer ffffffffffff, its data are codes of eeeeeeeeeeee'
    ):
        run(tmp_path, data, resume=True, **AVERAGED, **other)
    nameless = {'train_dataloader.dataset.tokenizer_hash': ''}
    run(tmp_path, data, resume=True, **AVERAGED, **nameless)
    assert load_generator(tmp_path / 'generator')[1]['tokenizer_hash'] == 'f' * 64


def test_codes_of_another_layout_stop_the_run_before_it_starts(data: Path, tmp_path: Path):
    other = dict(type='Grid', height=4, width=3, codebook_size=32)
    with pytest.raises(UserError, match=r'the training codes are .*Grid.* set model.generator.layout'):
        run(tmp_path, data, **{'train_dataloader.dataset.layout': other})
