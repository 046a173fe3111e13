"""Every row of the paper's reconstruction tables is exactly one config, with the paper's numbers and the paper's sizes."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.codes import LatentLayout, Pyramid, Sequence
from fvq_core.config.find import config_names, find_config
from fvq_core.config.read import read_config_file
from fvq_core.errors import UserError
from fvq_core.registry import MODELS, QUANTIZERS
from fvq_eval.commands.zoo import main as list_rows
from fvq_eval.paper.rows import RECONSTRUCTION, check_numbers, read_table

from .test_configs import flat

ROWS = read_table(RECONSTRUCTION)
# The others state what they change in tests/test_configs.py.
NAMES = [
    name for name in config_names() if not re.search('/(mini|generation|tuning|remote|confirmatory)/|photos', name)
]
PAPERS = {name: read_config_file(name).get('paper') for name in NAMES}
CLAIMED = {row_id: name for name, paper in PAPERS.items() if paper for row_id in paper['rows']}

Q = 'model.tokenizer.quantizer'
LEVELS = {'model.tokenizer.encoder.ch_mult', 'model.tokenizer.decoder.ch_mult'}
CHANNELS = {f'model.tokenizer.{half}.{key}' for half in ('encoder', 'decoder') for key in ('ch', 'z_channels')}
Z_CHANNELS, GROUPS, LATENT_SIZES = (
    {f'model.tokenizer.{half}.{key}' for half in ('encoder', 'decoder')}
    for key in ('z_channels', 'groups', 'latent_size')
)
TRANSFORMER = {
    f'model.tokenizer.{half}.{key}' for half in ('encoder', 'decoder') for key in ('width', 'depth', 'heads', 'tokens')
}
INNER = {f'{Q}.{key}' for key in ('type', 'quantizer', 'codebook_size', 'code_dim')}
WRAPPED = {*INNER, f'{Q}.projector'}
RQ, VAR = {*WRAPPED, f'{Q}.depth'}, {*WRAPPED, f'{Q}.scales', f'{Q}.num_phi'}
# What a part of a name may change of the config that it is based on: dotted prefixes, each of which must change.
PARTS = {
    '4k': {f'{Q}.codebook_size', f'{Q}.projector.patch_size'},
    '65k': {f'{Q}.codebook_size', f'{Q}.projector.patch_size'},
    '262k': {f'{Q}.codebook_size', f'{Q}.projector.patch_size'},
    '100k': {f'{Q}.codebook_size', f'{Q}.init.path'},
    'd4': {f'{Q}.code_dim', f'{Q}.projector.hidden_dim'},
    'd8': {f'{Q}.code_dim', f'{Q}.projector.hidden_dim'},
    'd256': {f'{Q}.code_dim'},
    'd512': {f'{Q}.code_dim'},
    'f8': LEVELS,
    '4res': {'model.tokenizer.encoder.num_res_blocks', 'model.tokenizer.decoder.num_res_blocks'},
    '120e': {'train_cfg.max_epochs'},
    '50e': {'train_cfg.max_epochs', 'param_scheduler.warmup'},
    'no_anneal': {'param_scheduler.decay'},
    'no_warmup': {'param_scheduler.warmup'},
    'cosine': {'param_scheduler.decay'},
    'linear': {f'{Q}.projector'},
    'mlp5': {f'{Q}.projector'},
    'hidden64': {f'{Q}.projector.hidden_dim'},
    'hidden128': {f'{Q}.projector.hidden_dim'},
    'hidden512': {f'{Q}.projector.hidden_dim'},
    'depth1': {f'{Q}.projector.depth'},
    'depth4': {f'{Q}.projector.depth'},
    'patch4': {f'{Q}.projector.patch_size'},
    'patch16': {f'{Q}.projector.patch_size'},
    'patch64': {f'{Q}.projector.patch_size'},
    'small': {
        f'model.tokenizer.{half}.{key}' for half in ('encoder', 'decoder') for key in ('width', 'depth', 'heads')
    },
    'large': {f'model.tokenizer.{half}.{key}' for half in ('encoder', 'decoder') for key in ('width', 'depth', 'heads')}
    | {'model.tokenizer.decoder.checkpointing'},
    'h8': {f'{Q}.groups', f'{Q}.quantizer.code_dim', f'{Q}.quantizer.projector.std'},
    'perturbed': {'default_hooks.perturbation'},
    'dino': {'model.adversarial.discriminator', 'model.adversarial.augment'},
    'late': {'model.adversarial.start'},
    'align': {'model.alignment'},
    'vit': {'model.tokenizer.encoder', 'model.tokenizer.decoder', 'model.tokenizer.quant_kernel'},
    'rq': {*RQ, *LEVELS, 'train_cfg.max_epochs'},
    'var': {*VAR, 'model.tokenizer.quant_kernel'},
}
DECODER_SIZES = {f'model.tokenizer.decoder.{key}' for key in ('width', 'depth', 'heads')} | {
    f'model.alignment.{key}' for key in ('width', 'hidden')
}
TRANSFORMER_SIZES = DECODER_SIZES | {f'model.tokenizer.encoder.{key}' for key in ('width', 'depth', 'heads')}
# Based on one row, with a name that does not follow `PARTS`: no bridge whose patch follows K, latents in place of codes.
NAMED_OTHERWISE = {
    'baselines/ibq_262k_4res': {f'{Q}.codebook_size'},
    'baselines/titok_ll32_vae': {
        'val_evaluator',
        'optim_wrapper.parts',
        'model.tokenizer.quantizer',
        'model.tokenizer.type',
        *(f'model.tokenizer.{key}' for key in ('latent_channels', 'kl_weight')),
        *(f'model.tokenizer.encoder.{key}' for key in ('width', 'depth', 'heads', 'tokens', 'z_channels')),
        *(f'model.tokenizer.decoder.{key}' for key in ('tokens', 'z_channels')),
    },
    'baselines/gigatok_sb': {*DECODER_SIZES, 'train_cfg.max_iters'},
    'baselines/gigatok_bl': {*TRANSFORMER_SIZES, 'train_dataloader.batch_size'},
    'baselines/gigatok_bl_dino': {f'model.adversarial.{key}' for key in ('discriminator', 'augment', 'start')},
    'baselines/gigatok_xl_xxl': {
        *TRANSFORMER_SIZES,
        *(f'model.tokenizer.{half}.checkpointing' for half in ('encoder', 'decoder')),
        f'{Q}.regularizer',
        'model.reconstruction_loss',
        'train_cfg.max_iters',
        *(f'param_scheduler.{key}' for key in ('warmup', 'warmup_factor')),
    },
    'baselines/xqgan_8k': {f'{Q}.codebook_size', f'{Q}.code_dim', *Z_CHANNELS},
    'baselines/xqgan_vp2_4k': {*INNER, f'{Q}.groups', f'{Q}.normalize', *Z_CHANNELS, *GROUPS},
    'baselines/xqgan_msvr_4k': {*INNER, f'{Q}.groups', f'{Q}.normalize', *Z_CHANNELS, *GROUPS, *LATENT_SIZES},
    'baselines/xqgan_msvr_8k': {f'{Q}.quantizer.quantizer.codebook_size'},
    'baselines/vqgan_sd_f4': {
        *LEVELS,
        f'{Q}.codebook_size',
        f'{Q}.code_dim',
        *(f'model.tokenizer.{half}.{key}' for half in ('encoder', 'decoder') for key in ('z_channels', 'attention')),
    },
    'baselines/open_magvit2_262k': {
        f'{Q}.codebook_size',
        'model.tokenizer.encoder.z_channels',
        'model.tokenizer.decoder.z_channels',
    },
}
FROZEN_SCHEDULE = {'optim_wrapper.optimizer', 'train_cfg.max_epochs'} | {
    f'param_scheduler.{key}' for key in ('warmup', 'hold', 'decay', 'end_factor')
}
# Configs that compose data, model and schedule of `_base_`: their method is all they may change.
METHODS = {
    'fvq/fvq_16k': {f'{Q}.projector'},
    'baselines/vqgan_1k': {f'{Q}.codebook_size', 'train_dataloader.batch_size'},
    'baselines/vqgan_16k': {
        'model.adversarial.weight',
        'model.adversarial.start',
        'model.adversarial.discriminator.layers',
        'train_dataloader.batch_size',
    },
    'baselines/vqgan_sd': {
        f'{Q}.code_dim',
        'model.tokenizer.encoder.z_channels',
        'model.tokenizer.decoder.z_channels',
        'model.adversarial.weight',
        'model.adversarial.discriminator.layers',
        'train_dataloader.batch_size',
        'train_dataloader.dataset.root',
        *(f'train_dataloader.dataset.transforms.0.{key}' for key in ('min_fraction', 'max_fraction')),
    },
    'baselines/vae_sd': {
        'val_evaluator',
        'train_cfg.max_iters',
        'train_dataloader.batch_size',
        'train_dataloader.dataset.root',
        *(f'train_dataloader.dataset.transforms.0.{key}' for key in ('min_fraction', 'max_fraction')),
    },
    'baselines/vae_sd_f8': {
        'val_evaluator',
        'model.tokenizer.latent_channels',
        'model.tokenizer.latent_scale',
        'model.tokenizer.encoder.ch_mult',
        'model.tokenizer.encoder.z_channels',
        'model.tokenizer.decoder.ch_mult',
        'model.tokenizer.decoder.z_channels',
        'train_cfg.max_iters',
        'train_dataloader.batch_size',
        'train_dataloader.dataset.root',
        *(f'train_dataloader.dataset.transforms.0.{key}' for key in ('min_fraction', 'max_fraction')),
    },
    'baselines/vae_mar': {
        'val_evaluator',
        'model.tokenizer.latent_scale',
        'model.tokenizer.decoder.attention',
        'train_cfg.max_iters',
        'optim_wrapper.optimizer.lr',
        'auto_scale_lr.base_batch_size',
    },
    'baselines/vqgan_lc_16k': {
        *(f'{Q}.{axis}' for axis in ('code_dim', 'projector', 'init', 'update')),
        f'{Q}.loss.beta',
        f'{Q}.loss.codebook_weight',
        f'{Q}.loss.legacy',
        'model.adversarial.weight',
        'model.adversarial.start',
        'model.adversarial.discriminator.layers',
        *(f'train_cfg.{key}' for key in ('max_epochs', 'max_iters', 'val_interval')),
        'optim_wrapper.optimizer.lr',
        'optim_wrapper.optimizer.eps',
        'auto_scale_lr.enable',
        *(f'param_scheduler.{key}' for key in ('warmup', 'warmup_factor', 'hold', 'decay', 'end_factor')),
    },
    'baselines/llamagen_16k': {f'{Q}.{axis}' for axis in ('code_dim', 'normalize', 'init')},
    'baselines/ibq_16k': {f'{Q}.{axis}' for axis in ('distance', 'estimator', 'loss', 'regularizer', 'init')},
    'baselines/rqvae_10e': {
        *INNER,
        f'{Q}.depth',
        *LEVELS,
        *(f'model.adversarial.{key}' for key in ('weight', 'discriminator_weight', 'adaptive', 'start')),
        'model.adversarial.discriminator.layers',
        'train_dataloader.dataset.transforms.0.min_fraction',
        'train_cfg.max_epochs',
        *(f'optim_wrapper.{key}' for key in ('optimizer.lr', 'optimizer.betas', 'max_norm', 'precision')),
        *(f'param_scheduler.{key}' for key in ('warmup', 'warmup_factor', 'decay')),
    },
    'baselines/var_4k': {
        *INNER,
        f'{Q}.scales',
        f'{Q}.num_phi',
        'model.tokenizer.quant_kernel',
        *CHANNELS,
    },
    'baselines/infinity_d32': {
        *INNER,
        *(f'{Q}.{key}' for key in ('scales', 'phi_ratio', 'interpolation', 'inputs')),
        'model.tokenizer.quant_kernel',
        *(
            f'model.tokenizer.{half}.{key}'
            for half in ('encoder', 'decoder')
            for key in ('ch_mult', 'z_channels', 'attention')
        ),
    },
    'baselines/open_magvit2_16k': {
        f'{Q}.type',
        f'{Q}.code_dim',
        'model.tokenizer.quant_kernel',
        'model.tokenizer.encoder',
        'model.tokenizer.decoder',
    },
    'baselines/maskgit_1k': set(),
    'baselines/vit_vqgan_base': set(),
    'baselines/titok_s128_stage1': set(),
    'baselines/titok_s128': {'load_from'},
    **{f'baselines/titok_{name}_stage1': TRANSFORMER for name in ('b64', 'l32')},
    **{f'baselines/titok_{name}': {*TRANSFORMER, 'load_from'} for name in ('b64', 'l32')},
    'baselines/titok_bl128_single': set(),
    'baselines/unitok': {'train_dataloader.batch_size'},
    'baselines/gigatok_ss': set(),
    'baselines/xqgan_4k': {'train_dataloader.batch_size'},
    'baselines/movq_1k': {
        *INNER,
        f'{Q}.groups',
        f'{Q}.shared',
        'model.tokenizer.decoder.type',
    },
    'baselines/optvq_16k': {
        *INNER,
        f'{Q}.loss',
        f'{Q}.groups',
        f'{Q}.shared',
        'model.reconstruction_loss',
        'model.perceptual_loss.weight',
        'model.adversarial.weight',
        'model.adversarial.start',
        'model.adversarial.delay',
        'train_dataloader.batch_size',
    },
    'baselines/simvq_16k': {f'{Q}.{axis}' for axis in ('projector', 'init', 'update')},
    'baselines/ema_vq_16k': {f'{Q}.{axis}' for axis in ('init', 'loss', 'update')},
    'baselines/cvq_16k': {f'{Q}.{axis}' for axis in ('normalize', 'distance', 'update')},
    'baselines/reg_vq_16k': {f'{Q}.{axis}' for axis in ('estimator', 'regularizer', 'init')},
    'baselines/fsq_16k': {f'{Q}.{key}' for key in ('type', 'levels', 'codebook_size', 'code_dim')},
    'baselines/gumbel_16k': {f'{Q}.type', f'{Q}.kl_weight'},
    'baselines/huh_16k': {f'{Q}.{axis}' for axis in ('projector', 'estimator', 'loss', 'init')},
    'frozen/fvq_16k_vae_sd': {
        Q,
        'model.tokenizer.encoder.adapter',
        'model.tokenizer.decoder',
        'model.tokenizer.quant_kernel',
    },
    'frozen/revq_512_vae_sd': {Q, 'model.tokenizer.encoder.adapter', 'model.tokenizer.decoder', *FROZEN_SCHEDULE}
    | {'optim_wrapper.paramwise_cfg', 'optim_wrapper.precision', 'auto_scale_lr.enable', 'train_dataloader.batch_size'},
    'frozen/coda_mar': {Q, *FROZEN_SCHEDULE, 'optim_wrapper.max_norm', 'train_dataloader.dataset.root', 'load_from'}
    | {f'model.tokenizer.encoder.autoencoder.{key}' for key in ('latent_scale', 'decoder.attention')},
}


# Images of one iteration on the number of devices that docs/reproduce.md or the release launches on.
BATCHES = {
    'fvq/fvq_16k': (8, 128),
    'baselines/llamagen_16k': (8, 128),
    'baselines/vqgan_1k': (1, 12),
    'baselines/vqgan_16k': (1, 12),
    'baselines/vqgan_sd': (1, 14),
    'baselines/vae_mar': (8, 256),
    'baselines/vqgan_lc_16k': (8, 256),
    'baselines/ibq_16k': (8, 256),
    'baselines/open_magvit2_16k': (8, 256),
    'baselines/optvq_16k': (8, 64),
    'baselines/rqvae_10e': (8, 128),
    'baselines/maskgit_1k': (8, 256),
    'baselines/gigatok_ss': (8, 128),
    'baselines/gigatok_bl': (8, 256),
    'baselines/xqgan_4k': (8, 1024),
    **{f'baselines/titok_{name}': (8, 256) for name in ('s128', 'b64', 'l32', 'l32_stage1', 'bl128_single')},
}
# The table prints the width of TiTok's continuous variants; its codes have 12 channels in every config and file.
RELEASED_WIDTHS = {'t8.20': 12, 't8.21': 12, 't8.22': 12}


def short(name: str) -> str:
    return name.removeprefix('configs/').removesuffix('.py')


def bases_of(name: str) -> list[str]:
    """The row that a config's `read_base` names, or the data, model and schedule that it composes."""
    path = find_config(name)
    bases = []
    for module in re.findall(r'^    from (\.+[\w.]+) import \*$', path.read_text(), re.MULTILINE):
        dots = len(module) - len(module.lstrip('.'))
        bases.append(str(path.parents[dots - 1].joinpath(*module.lstrip('.').split('.')).with_suffix('.py')))
    return bases


def allowed(name: str) -> set[str]:
    """Dotted prefixes that a config may change, and must."""
    bases = [Path(base) for base in bases_of(name)]
    if len(bases) > 1:
        assert [base.parent.name for base in bases] == ['datasets', 'models', 'schedules']
        return METHODS[short(name)]
    (base,) = bases
    if short(name) in NAMED_OTHERWISE:
        return NAMED_OTHERWISE[short(name)]
    ours, theirs = (re.findall(r'no_\w+?(?=_|$)|[^_]+', stem) for stem in (Path(name).stem, base.stem))
    return set().union(*(PARTS[part] for part in ours if part not in theirs and part not in ('fvq', '16k')))


def leaves(path: str) -> dict[str, Any]:
    cfg = read_config_file(path).to_dict()
    return flat({key: value for key, value in cfg.items() if key not in ('paper', 'work_dir')})


def test_every_row_is_claimed_by_exactly_one_config():
    claims = [row_id for paper in PAPERS.values() if paper for row_id in paper['rows']]
    assert len(claims) == len(set(claims))
    assert set(claims) == set(ROWS)


@pytest.mark.parametrize('name', [name for name in NAMES if PAPERS[name]])
def test_a_config_has_the_numbers_of_its_rows(name: str):
    check_numbers(name, PAPERS[name], ROWS)


def test_a_number_that_differs_from_the_table_is_noticed():
    with pytest.raises(UserError, match=r"x: paper\.psnr is \{22\.3\}, rows \['t7\.2'\] have \{22\.36\}"):
        check_numbers('x', dict(rows=['t7.2'], rfid_in1k=1.3, psnr=22.3, ssim=0.648, usage=100), ROWS)
    with pytest.raises(UserError, match=r'paper\.ssim is missing'):
        check_numbers('x', dict(rows=['t7.2'], rfid_in1k=1.3, psnr=22.36, usage=100), ROWS)
    with pytest.raises(UserError, match=r'paper\.lpips is \{0\.1\}.* have nothing'):
        check_numbers('x', dict(rows=['t9.2'], rfid_in1k=1.7, lpips=0.1), ROWS)


@pytest.mark.parametrize('name', [name for name in NAMES if PAPERS[name]])
def test_paper_is_assigned_in_the_file_and_never_inherited(name: str):
    tree = ast.parse(find_config(name).read_text())
    targets = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert targets.count('paper') == 1


@pytest.mark.parametrize('row_id', sorted(CLAIMED))
def test_the_config_of_a_row_has_the_sizes_of_the_row(row_id: str):
    row, cfg = ROWS[row_id], read_config_file(CLAIMED[row_id])
    with torch.device('meta'):
        tokenizer = MODELS.build(cfg.model).tokenizer
    layout = tokenizer.layout(256, 256)
    if isinstance(layout.positions, Sequence):
        assert row['note'] == '1-D'
        assert row['downsample'] == ''
    else:
        assert tokenizer.downsample_factor == int(row['downsample'])
    if row['code_dim'] != '0':  # lookup-free: the table's 0
        assert getattr(tokenizer.quantizer, 'group_dim', tokenizer.latent_channels) == RELEASED_WIDTHS.get(
            row_id, int(row['code_dim'])
        )
    if isinstance(layout, LatentLayout):
        assert row['codebook_size'] == ''
        tokens = layout.positions.shape
    else:
        assert layout.vocab_size == int(row['codebook_size'])
        tokens = layout.shape
    pyramid = isinstance(layout.positions, Pyramid)
    assert (f'{layout.length}_10step' if pyramid else 'x'.join(map(str, tokens))) == row['tokens']
    if row['epochs']:
        assert cfg.train_cfg.max_epochs == int(row['epochs'])


@pytest.mark.parametrize('name', NAMES)
def test_a_config_changes_what_its_name_claims_and_nothing_else(name: str):
    base = {key: value for each in bases_of(name) for key, value in leaves(each).items()}
    row = leaves(name)
    changed = {key for key in base.keys() | row.keys() if base.get(key, KeyError) != row.get(key, KeyError)}
    prefixes = allowed(name)
    strange = {key for key in changed if not any(key == p or key.startswith(f'{p}.') for p in prefixes)}
    assert not strange
    silent = {p for p in prefixes if not any(key == p or key.startswith(f'{p}.') for key in changed)}
    assert not silent


@pytest.mark.parametrize('name', sorted(BATCHES))
def test_the_documented_launch_gives_the_published_batch(name: str):
    devices, batch = BATCHES[name]
    cfg = read_config_file(f'configs/{name}.py')
    assert cfg.train_dataloader.batch_size * devices * cfg.train_cfg.get('accumulate', 1) == batch


@pytest.mark.parametrize('name', ['configs/mini/reg_vq.py', 'configs/baselines/reg_vq_16k.py'])
def test_the_prior_of_reg_vq_has_choices_to_pull_at_when_training_starts(name: str):
    torch.manual_seed(0)
    cfg = read_config_file(name).model.tokenizer.quantizer
    quantizer = QUANTIZERS.build(cfg).train()
    z_BDHW = (0.2 * torch.randn(1, cfg.code_dim, 4, 4)).requires_grad_()  # about as the untrained encoders give them
    logits = quantizer.distance.logits(z_BDHW[0].flatten(1).t(), quantizer.codebook()) / cfg.estimator.temperature
    perplexity = torch.distributions.Categorical(logits=logits).entropy().exp().mean()
    assert 1.5 < perplexity < cfg.codebook_size / 16
    quantizer(z_BDHW).losses['prior'].backward()
    assert z_BDHW.grad is not None
    assert z_BDHW.grad.abs().mean() > 1e-4


def test_the_list_names_rows_and_configs(capsys: pytest.CaptureFixture[str]):
    assert list_rows(['t3.1', '--work-dirs', 'none']) == 0
    assert 'fvq_65k_d512_120e' not in capsys.readouterr().out  # an id is meant whole: that is t3.10
    assert list_rows(['t3.10', 't8.20', '--work-dirs', 'none']) == 0
    out = capsys.readouterr().out
    assert re.search(
        r'^t3\.10 +tools/train\.py configs/fvq/fvq_65k_d512_120e\.py +rFID 1\.0, COCO 6\.16, usage 100$',
        out,
        re.MULTILINE,
    )
    assert re.search(
        r'^t8\.20 +tools/train\.py configs/baselines/titok_l32\.py +rFID 2\.21 +bytedance/1d-tokenizer, Apache-2\.0$',
        out,
        re.MULTILINE,
    )


@pytest.mark.parametrize('figure', ['f6', 'figure6'])
def test_the_configs_of_a_figure_can_be_asked_for(capsys: pytest.CaptureFixture[str], figure: str):
    assert list_rows([figure, '--work-dirs', 'none']) == 0
    named = set(re.findall(r'configs/\S+\.py', capsys.readouterr().out))
    assert named == {name for name in NAMES if (PAPERS[name] or {}).get('figure') == 6}
    assert {'configs/fvq/fvq_16k.py', 'configs/ablations/fvq_16k_patch4.py'} < named
