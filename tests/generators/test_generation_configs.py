"""The generators' configs: published sizes and numbers, and each states only its difference."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fvq_core.codes import LatentLayout
from fvq_core.config.read import load_config, read_config_file
from fvq_core.registry import GENERATORS, IMPORTERS, MODELS
from fvq_eval.rehearsal.shrink_config import shrink_config
from fvq_eval.rehearsal.smoke import run_smoke
from fvq_generators.data import CodesDataset
from tests.needs import DIFFUSERS, marked
from tests.test_configs import flat

ROOT = Path(__file__).parents[2] / 'configs'
ROWS = {row['id']: row for row in csv.DictReader((ROOT / 'paper/generation.csv').read_text().splitlines())}
NAMES = sorted(path.stem for path in (ROOT / 'generation').glob('*.py'))
PAPERS = {name: read_config_file(str(ROOT / f'generation/{name}.py')).get('paper') or {} for name in NAMES}
CLAIMED = [(row_id, name) for name, paper in PAPERS.items() for row_id in paper.get('rows', ())]
SIZE = {f'model.generator.{key}' for key in ('dim', 'depth', 'heads')}
SAMPLING = 'default_hooks.report.sampling'
GUIDANCE, TYPE = f'{SAMPLING}.cfg_scale', 'model.generator.type'
RANDOM_CROPS = '_base_/datasets/imagenet_256_random_crop_images'
LATENT_PHOTOS = {
    'model.generator.num_classes',
    'model.generator.layout.scale',
    *(f'train_dataloader.{key}' for key in ('num_workers', 'pin_memory', 'dataset.root')),
    *('train_cfg.max_iters', 'optim_wrapper.precision', 'optim_wrapper.optimizer.lr', GUIDANCE),
    *(f'param_scheduler.{key}' for key in ('warmup', 'hold', 'decay', 'end_factor')),
    *('default_hooks.checkpoint.interval', 'default_hooks.training_log.interval', 'default_hooks.ema.decay'),
}
RAR = {
    'model.generator.dim',
    'model.generator.width',
    *(f'{SAMPLING}.{key}' for key in ('cfg_scale', 'cfg_power', 'temperature')),
}
# The config (or the bases, separated by spaces) that each states its difference from, and that difference.
DIFFERENCES: dict[str, tuple[str, set[str]]] = {
    'llamagen_b': (
        '_base_/datasets/imagenet_codes _base_/models/llamagen_b _base_/schedules/llamagen_300e',
        set(),
    ),
    'llamagen_l': ('generation/llamagen_b', SIZE),
    'llamagen_xl': ('generation/llamagen_b', {*SIZE, GUIDANCE}),
    'llamagen_xxl': ('generation/llamagen_b', {*SIZE, GUIDANCE, 'model.shard'}),
    'llamagen_3b': ('generation/llamagen_b', {*SIZE, GUIDANCE, 'model.shard'}),
    'fvq_l': (
        'generation/llamagen_l',
        {'train_dataloader.batch_size', 'train_dataloader.dataset.root', 'auto_scale_lr.enable', GUIDANCE}
        | {f'param_scheduler.{key}' for key in ('hold', 'decay', 'end_factor')},
    ),
    'rq_transformer_480m': (
        '_base_/datasets/imagenet_256_images _base_/models/rq_transformer _base_/schedules/rq_transformer_100e',
        {'train_dataloader.batch_size'},
    ),
    'rq_transformer_820m': ('generation/rq_transformer_480m', {'model.generator.depth'}),
    'rq_transformer_1400m': (
        'generation/rq_transformer_480m',
        {f'model.generator.{key}' for key in ('depth', 'head_depth')},
    ),
    'rq_transformer_3800m': (
        'generation/rq_transformer_480m',
        {*SIZE, 'model.generator.head_depth', 'model.shard', 'train_dataloader.batch_size'},
    ),
    'fvq_xl': ('generation/fvq_l', {*SIZE, GUIDANCE, 'train_dataloader.batch_size', 'train_cfg.max_epochs'}),
    'llamagen_xl_t2i': (
        'generation/llamagen_b',
        {*SIZE, GUIDANCE, 'default_hooks.report.sampling.top_k'}
        | {f'model.generator.{key}' for key in ('caption_dim', 'caption_tokens')}
        | {f'train_dataloader.dataset.{key}' for key in ('type', 'root', 'captions', 'images', 'tokens', 'channels')},
    ),
    'vqgan_227m': (
        '_base_/datasets/imagenet_codes _base_/models/min_gpt _base_/schedules/llamagen_300e',
        {f'model.generator.{key}_dropout' for key in ('token', 'attention', 'residual')}
        | {
            'train_dataloader.dataset.root',
            'optim_wrapper.optimizer.weight_decay',
            'optim_wrapper.paramwise_cfg.no_decay.0',
        }
        | {GUIDANCE},
    ),
    'vqgan_1411m': (
        'generation/vqgan_227m',
        {*SIZE, 'model.shard', 'model.generator.layout.codebook_size', 'train_dataloader.dataset.root'}
        | {f'model.generator.{key}_dropout' for key in ('token', 'attention', 'residual')}
        | {'auto_scale_lr.enable', 'optim_wrapper.optimizer.lr'}
        | {f'{SAMPLING}.{key}' for key in ('top_k', 'top_p')},
    ),
    'ibq_b': (
        f'{RANDOM_CROPS} _base_/models/ibq_transformer _base_/schedules/ibq_transformer_300e',
        {'model.tokenizer', GUIDANCE, f'{SAMPLING}.temperature'},
    ),
    'ibq_l': ('generation/ibq_b', {*SIZE, 'train_cfg.max_epochs', GUIDANCE, f'{SAMPLING}.temperature'}),
    'ibq_xl': (
        'generation/ibq_b',
        {*SIZE, 'train_cfg.max_epochs', GUIDANCE, f'{SAMPLING}.temperature', 'param_scheduler.end_factor'}
        | {'model.generator.gate_init'},
    ),
    'ibq_xxl': (
        'generation/ibq_xl',
        {*SIZE, 'model.shard', 'model.generator.gate_init', 'train_cfg.max_epochs', GUIDANCE, f'{SAMPLING}.temperature'}
        | {f'param_scheduler.{key}' for key in ('type', 'warmup', 'hold', 'decay', 'end_factor')}
        | {f'param_scheduler.0.{key}' for key in ('type', 'warmup', 'hold', 'decay', 'end_factor')}
        | {f'param_scheduler.1.{key}' for key in ('type', 'param_name', 'eta_min_ratio', 'by_epoch')},
    ),
    'vitvq': (
        '_base_/datasets/imagenet_codes _base_/models/vitvq_transformer _base_/schedules/llamagen_300e',
        {'model.shard', 'train_dataloader.dataset.root', 'train_cfg.max_epochs', 'train_cfg.max_iters', GUIDANCE}
        | {f'optim_wrapper.optimizer.{key}' for key in ('lr', 'weight_decay', 'betas.1')}
        | {f'param_scheduler.{key}' for key in ('warmup', 'hold', 'decay', 'end_factor')},
    ),
    'var_d16': (
        '_base_/datasets/imagenet_288_random_crop _base_/models/var_d16 _base_/schedules/var_200e',
        {'model.tokenizer'},
    ),
    'bar_b': (
        '_base_/datasets/imagenet_codes _base_/models/bar _base_/schedules/rar_250k',
        {'train_dataloader.batch_size', 'train_dataloader.dataset.root', GUIDANCE}
        | {f'{SAMPLING}.{key}' for key in ('temperature', 'shares')}
        | {f'optim_wrapper.paramwise_cfg.no_decay.{number}' for number in (2, 3)},
    ),
    'bar_l': (
        'generation/bar_b',
        {*SIZE, 'model.generator.dropout', 'train_dataloader.batch_size', GUIDANCE, f'{SAMPLING}.temperature'},
    ),
    'bar_open_magvit2_262k': (
        'generation/bar_b',
        {'model.generator.layout.codebook_size', 'train_dataloader.dataset.root'}
        | {f'{SAMPLING}.{key}' for key in ('temperature', 'shares')},
    ),
    'infinity_layer12': (
        '_base_/datasets/imagenet_288_random_crop _base_/models/infinity_layer12 _base_/schedules/var_200e',
        {'model.tokenizer', f'{SAMPLING}.top_k', f'{SAMPLING}.top_p'}
        | {f'optim_wrapper.paramwise_cfg.no_decay.{number}' for number in (1, 2)},
    ),
    **{f'infinity_layer{depth}': ('generation/infinity_layer12', SIZE) for depth in (16, 24)},
    'infinity_layer12_t2i': (
        '_base_/datasets/imagenet_codes _base_/models/infinity_layer12 _base_/schedules/var_200e',
        {'model.tokenizer', GUIDANCE, *(f'{SAMPLING}.{key}' for key in ('temperature', 'top_k', 'top_p'))}
        | {f'model.generator.{key}' for key in ('caption_dim', 'caption_tokens', 'rotary_grid.0', 'rotary_grid.1')}
        | {f'train_dataloader.dataset.{key}' for key in ('type', 'root', 'captions', 'images', 'tokens', 'channels')}
        | {'optim_wrapper.max_norm', 'optim_wrapper.optimizer.betas.1'}
        | {f'optim_wrapper.paramwise_cfg.no_decay.{number}' for number in (1, 2, 3)},
    ),
    'infinity_2b': (
        'generation/infinity_layer12_t2i',
        {*SIZE, 'model.shard', 'model.generator.checkpointing'},
    ),
    'var_d20': ('generation/var_d16', {*SIZE, 'model.generator.drop_path', 'train_cfg.max_epochs'}),
    'var_d24': (
        'generation/var_d16',
        {*SIZE, *(f'model.generator.{key}' for key in ('drop_path', 'gate_init')), 'train_cfg.max_epochs'}
        | {'optim_wrapper.optimizer.lr', 'param_scheduler.end_factor'},
    ),
    'var_d30': (
        'generation/var_d24',
        {*SIZE, *(f'model.generator.{key}' for key in ('drop_path', 'gate_init')), 'model.shard'}
        | {'train_dataloader.batch_size'}
        | {f'param_scheduler.{key}' for key in ('type', 'warmup', 'hold', 'decay', 'end_factor')}
        | {f'param_scheduler.0.{key}' for key in ('type', 'warmup', 'hold', 'decay', 'end_factor')}
        | {f'param_scheduler.1.{key}' for key in ('type', 'param_name', 'eta_min_ratio', 'by_epoch')},
    ),
    'var_d16_fvq': (
        'generation/var_d16',
        {
            'model.tokenizer',
            'model.generator.code_dim',
            'model.generator.layout.codebook_size',
        }
        | {f'train_dataloader.dataset.{key}' for key in ('type', 'root', 'exif_orientation', 'decoder')}
        | {f'train_dataloader.dataset.transforms.0.{key}' for key in ('type', 'size', 'min_fraction', 'max_fraction')}
        | {'train_dataloader.dataset.transforms.0.upsample'},
    ),
    'var_photos': (
        'generation/var_d16_fvq',
        {*SIZE, *(f'model.generator.{key}' for key in ('code_dim', 'num_classes', 'drop_path', 'gate_init'))}
        | {f'model.generator.layout.scales.{scale}.{side}' for scale in range(4, 10) for side in range(2)}
        | {'model.tokenizer', 'model.generator.layout.codebook_size', 'auto_scale_lr.enable'}
        | {f'train_dataloader.{key}' for key in ('batch_size', 'num_workers', 'pin_memory', 'dataset.root')}
        | {'train_cfg.max_epochs', 'train_cfg.max_iters', 'optim_wrapper.precision', 'optim_wrapper.optimizer.lr'}
        | {f'param_scheduler.{key}' for key in ('warmup', 'hold', 'end_factor')}
        | {f'default_hooks.{key}.interval' for key in ('checkpoint', 'training_log')}
        | {f'default_hooks.report.sampling.{key}' for key in ('cfg_scale', 'top_k', 'top_p')},
    ),
    'var_codes_photos': (
        'generation/codes_photos',
        {'model.tokenizer.quant_kernel', 'model.tokenizer.quantizer.num_phi', 'model.tokenizer.quantizer.type'}
        | {f'model.tokenizer.quantizer.scales.{scale}' for scale in range(6)}
        | {
            f'model.tokenizer.quantizer.{inner}{key}'
            for inner in ('', 'quantizer.')
            for key in ('codebook_size', 'code_dim', 'projector.type', 'projector.patch_size', 'init.type', 'init.std')
        }
        | {f'model.tokenizer.quantizer.quantizer.{key}' for key in ('type', 'normalize.type')}
        | {'model.reconstruction_loss.weight'},
    ),
    'randar_l': (
        '_base_/datasets/imagenet_codes _base_/models/randar _base_/schedules/randar_360k',
        {'train_dataloader.batch_size', GUIDANCE},
    ),
    'randar_xl': ('generation/randar_l', {*SIZE, GUIDANCE}),
    'randar_xxl': ('generation/randar_xl', {*SIZE, 'model.shard'}),
    'maskgit': (
        '_base_/datasets/imagenet_codes _base_/models/maskgit _base_/schedules/maskgit_2000k',
        {'train_dataloader.dataset.root'},
    ),
    'maskgit_titok_l32': (
        '_base_/datasets/imagenet_codes _base_/models/maskgit_titok _base_/schedules/titok_generator_500k',
        {'train_dataloader.batch_size', 'train_dataloader.dataset.root', GUIDANCE}
        | {f'{SAMPLING}.{key}' for key in ('cfg_schedule', 'choice', 'choice_temperature')}
        | {f'{SAMPLING}.{key}' for key in ('temperature', 'final_temperature')},
    ),
    'maskgit_titok_b64': (
        'generation/maskgit_titok_l32',
        {'model.generator.layout.length', 'train_dataloader.dataset.root', GUIDANCE, f'{SAMPLING}.choice_temperature'},
    ),
    'maskgit_titok_s128': (
        'generation/maskgit_titok_l32',
        {'model.generator.layout.length', 'train_dataloader.dataset.root', GUIDANCE}
        | {f'model.generator.network.{key}' for key in ('type', 'dim', 'depth', 'gelu', 'transform')}
        | {f'{SAMPLING}.{key}' for key in ('steps', 'cfg_schedule', 'cfg_power', 'choice_temperature')},
    ),
    'maskgit_halton_base': (
        '_base_/datasets/imagenet_codes _base_/models/maskgit_halton _base_/schedules/halton_1000k',
        set(),
    ),
    'maskgit_halton_large_384': (
        'generation/maskgit_halton_base',
        {f'model.generator.layout.{key}' for key in ('height', 'width')}
        | {f'model.generator.network.{key}' for key in ('dim', 'depth', 'heads')}
        | {'train_dataloader.dataset.root', GUIDANCE},
    ),
    'maskgit_262k': (
        'generation/maskgit',
        {f'model.generator.{key}' for key in ('factors.0', 'factors.1', 'cond_dropout', 'layout.codebook_size')}
        | {'train_dataloader.dataset.root', GUIDANCE},
    ),
    'maskgit_photos': (
        'generation/maskgit',
        {f'model.generator.{key}' for key in ('num_classes', 'cond_dropout', 'tied_head')}
        | {f'model.generator.layout.{key}' for key in ('height', 'width')}
        | {f'model.generator.network.{key}' for key in ('dim', 'depth', 'heads', 'dropout', 'attention_dropout')}
        | {f'train_dataloader.{key}' for key in ('num_workers', 'pin_memory', 'dataset.root')}
        | {'train_cfg.max_iters', 'optim_wrapper.precision', 'optim_wrapper.optimizer.lr', GUIDANCE}
        | {f'param_scheduler.{key}' for key in ('warmup', 'hold', 'decay', 'end_factor')}
        | {'default_hooks.checkpoint.interval', 'default_hooks.training_log.interval', 'default_hooks.ema.decay'},
    ),
    'rar_b': (
        '_base_/datasets/imagenet_codes _base_/models/rar _base_/schedules/rar_250k',
        {'train_dataloader.batch_size', 'train_dataloader.dataset.root', GUIDANCE, f'{SAMPLING}.cfg_power'},
    ),
    'rar_l': ('generation/rar_b', RAR),
    'open_magvit2_b': (
        f'{RANDOM_CROPS} _base_/models/open_magvit2_transformer _base_/schedules/ibq_transformer_300e',
        {'model.tokenizer', GUIDANCE, f'{SAMPLING}.second_cfg_scale'},
    ),
    'open_magvit2_l': (
        'generation/open_magvit2_b',
        {*SIZE, 'model.generator.inner_depth', f'{SAMPLING}.second_cfg_scale', f'{SAMPLING}.temperature'},
    ),
    'open_magvit2_xl': (
        'generation/open_magvit2_b',
        {
            *SIZE,
            'model.generator.inner_depth',
            'model.shard',
            'train_cfg.max_epochs',
            'optim_wrapper.optimizer.lr',
            GUIDANCE,
        }
        | {f'{SAMPLING}.second_cfg_scale', f'{SAMPLING}.temperature'},
    ),
    **{f'rar_{size}': ('generation/rar_b', {*RAR, 'model.generator.depth'}) for size in ('xl', 'xxl')},
    'llamagen_photos': (
        'generation/llamagen_b',
        {f'model.generator.{key}' for key in ('dim', 'depth', 'heads', 'num_classes')}
        | {f'model.generator.layout.{key}' for key in ('height', 'width', 'codebook_size')}
        | {f'train_dataloader.{key}' for key in ('num_workers', 'pin_memory', 'dataset.root')}
        | {'train_cfg.max_epochs', 'train_cfg.max_iters', 'optim_wrapper.precision', 'optim_wrapper.optimizer.lr'}
        | {f'param_scheduler.{key}' for key in ('warmup', 'hold', 'decay', 'end_factor')}
        | {f'default_hooks.{key}.interval' for key in ('checkpoint', 'training_log')},
    ),
    'rq_codes_photos': (
        'generation/codes_photos',
        {
            f'model.tokenizer.{half}.{key}'
            for half in ('encoder', 'decoder')
            for key in ('ch_mult.4', 'num_res_blocks.4')
        }
        | {f'model.tokenizer.quantizer.{key}' for key in ('type', 'depth', 'codebook_size', 'code_dim')}
        | {
            f'model.tokenizer.quantizer.{key}'
            for key in ('projector.type', 'projector.patch_size', 'init.type', 'init.std')
        }
        | {f'model.tokenizer.quantizer.quantizer.{key}' for key in ('type', 'codebook_size', 'code_dim')}
        | {
            f'model.tokenizer.quantizer.quantizer.{key}'
            for key in ('projector.type', 'projector.patch_size', 'init.type', 'init.std')
        },
    ),
    'rq_transformer_photos': (
        '_base_/models/rq_transformer _base_/schedules/rq_transformer_100e',
        {
            f'model.generator.{key}'
            for key in ('code_dim', 'num_classes', 'cond_dropout', 'dim', 'depth', 'head_depth', 'heads')
        }
        | {f'model.generator.layout.{key}' for key in ('height', 'width', *(f'codebook_size.{n}' for n in range(4)))}
        | {'model.tokenizer', 'train_cfg.max_epochs', 'train_cfg.max_iters'}
        | {
            'optim_wrapper.precision',
            'optim_wrapper.optimizer.lr',
            *(f'param_scheduler.{key}' for key in ('warmup', 'hold', 'decay', 'end_factor')),
        }
        | {'train_dataloader.batch_size', GUIDANCE, f'{SAMPLING}.top_p'}
        | {f'train_dataloader.dataset.{key}' for key in ('type', 'split', 'crop_size', 'crops', 'short_side')}
        | {f'default_hooks.{key}.interval' for key in ('checkpoint', 'training_log')},
    ),
    'llamagen_titok_photos': (
        'generation/llamagen_photos',
        {f'model.generator.layout.{key}' for key in ('type', 'height', 'width', 'length')}
        | {'train_dataloader.dataset.root'},
    ),
    'titok_codes_photos': (
        'baselines/titok_photos',
        {f'{split}_dataloader.dataset.{key}' for split in ('train', 'val') for key in ('short_side', 'held_out')}
        | {f'val_dataloader.dataset.{key}' for key in ('split', 'crops')},
    ),
    **{f'{name}_photos': ('generation/llamagen_photos', {TYPE, GUIDANCE}) for name in ('vqgan', 'vitvq')},
    'ibq_photos': ('generation/llamagen_photos', {TYPE, 'model.generator.gate_init'}),
    'randar_photos': ('generation/llamagen_photos', {TYPE, f'{SAMPLING}.steps'}),
    'rar_photos': ('generation/llamagen_photos', {TYPE, 'default_hooks.random_order.type'}),
    'codes_photos': (
        '_base_/datasets/bundled_photos _base_/models/vqgan_tiny _base_/schedules/annealed_400',
        {f'model.tokenizer.{half}.ch_mult.3' for half in ('encoder', 'decoder')}
        | {f'model.tokenizer.{half}.num_res_blocks.3' for half in ('encoder', 'decoder')}
        | {
            f'model.tokenizer.quantizer.{key}'
            for key in ('projector.type', 'projector.patch_size', 'init.type', 'init.std')
        }
        | {f'{split}_dataloader.dataset.short_side' for split in ('train', 'val')}
        | {f'val_dataloader.dataset.{key}' for key in ('split', 'crops')},
    ),
    'dit_xl': ('_base_/datasets/imagenet_latents _base_/models/dit _base_/schedules/dit_7000k', set()),
    'dit_l': ('generation/dit_xl', {'model.generator.dim', 'model.generator.depth'}),
    'l_dit_3b': (
        'generation/dit_xl',
        {*SIZE, TYPE, 'model.generator.patch_size', 'model.shard', 'train_cfg.max_iters', 'optim_wrapper.max_norm'},
    ),
    'l_dit_7b': ('generation/l_dit_3b', {'model.generator.dim', 'train_dataloader.batch_size', 'train_cfg.max_iters'}),
    'mar_l': (
        '_base_/datasets/imagenet_latents _base_/models/mar _base_/schedules/mar_800e',
        {'train_dataloader.batch_size', 'train_dataloader.dataset.root'},
    ),
    'mar_h': (
        'generation/mar_l',
        {f'model.generator.{key}' for key in ('dim', 'depth', 'head_depth', 'head_width')} | {GUIDANCE},
    ),
    'rcg': (
        '_base_/datasets/imagenet_codes _base_/models/rcg _base_/schedules/rcg_200e',
        {f'train_dataloader.dataset.{key}' for key in ('type', 'root', 'representations')}
        | {'train_dataloader.batch_size'},
    ),
    'rcg_photos': (
        'generation/rcg',
        {f'model.generator.layout.{key}' for key in ('height', 'width')}
        | {
            f'model.generator.representation.{key}'
            for key in ('dim', 'width', 'depth', 'time_dim', 'num_classes', 'class_dim')
        }
        | {
            f'model.generator.mage.{key}'
            for key in ('dim', 'depth', 'heads', 'decoder_depth', 'dropout', 'attention_dropout')
        }
        | {'model.generator.channels', 'auto_scale_lr.enable', 'train_cfg.max_epochs', 'train_cfg.max_iters'}
        | {f'train_dataloader.{key}' for key in ('batch_size', 'num_workers', 'pin_memory')}
        | {f'train_dataloader.dataset.{key}' for key in ('root', 'representations')}
        | {'optim_wrapper.precision', 'optim_wrapper.optimizer.lr'}
        | {f'param_scheduler.{key}' for key in ('hold', 'decay', 'end_factor')}
        | {'default_hooks.checkpoint.interval', 'default_hooks.training_log.interval'}
        | {f'{SAMPLING}.{key}' for key in ('choice_temperature', 'steps', 'representation_steps')},
    ),
    **{
        name: (
            f'_base_/datasets/imagenet_256_images _base_/models/{name} _base_/schedules/adm_1980k',
            {'train_dataloader.dataset.transforms.0.type', 'train_dataloader.dataset.transforms.0.min_fraction'},
        )
        for name in ('adm', 'cdm')
    },
    'ldm_4_g': (
        '_base_/datasets/imagenet_latents _base_/models/ldm_4 _base_/schedules/ldm_178k',
        {'train_dataloader.batch_size', 'train_dataloader.dataset.root'},
    ),
    'dit_photos': (
        'generation/dit_xl',
        {*SIZE, *LATENT_PHOTOS, f'{SAMPLING}.cfg_channels', f'{SAMPLING}.steps'}
        | {f'model.generator.layout.{key}' for key in ('height', 'width')},
    ),
    'mar_photos': (
        'generation/mar_l',
        {
            *SIZE,
            *LATENT_PHOTOS,
            'train_dataloader.batch_size',
            'train_cfg.max_epochs',
            'model.generator.layout.channels',
        }
        | {f'model.generator.{key}' for key in ('patch_size', 'head_depth', 'head_width', 'head_draws', 'class_tokens')}
        | {f'model.generator.{key}' for key in ('attention_dropout', 'dropout', 'schedule')}
        | {f'{SAMPLING}.{key}' for key in ('steps', 'diffusion_steps')},
    ),
}
# Parameters in millions, devices of the documented launch, images of one iteration, learning rate there.
PUBLISHED = {
    'adm': (554, 8, 256, 1e-4),
    'cdm': (1333, 8, 256, 1e-4),  # ours: nothing was published
    'ldm_4_g': (401, 8, 1200, 1e-4),
    'rcg': (480, 32, 4096, 2.4e-3),  # the table adds the tokenizer's decoder, and takes the unconditional diffusion
    'dit_l': (458, 8, 256, 1e-4),
    'dit_xl': (675, 8, 256, 1e-4),
    'l_dit_3b': (4238, 8, 256, 1e-4),  # "3B"
    'l_dit_7b': (7294, 8, 512, 1e-4),
    'mar_l': (478, 8, 2048, 8e-4),
    'mar_h': (942, 8, 2048, 8e-4),
    'llamagen_b': (111, 8, 256, 1e-4),
    'llamagen_l': (343, 8, 256, 1e-4),
    'llamagen_xl': (775, 8, 256, 1e-4),
    'llamagen_xl_t2i': (778, 8, 256, 1e-4),  # XL without its classes (1.3 M) and with two layers for captions (4.3 M)
    'llamagen_xxl': (1411, 8, 256, 1e-4),
    'llamagen_3b': (3097, 8, 256, 1e-4),
    'vqgan_227m': (172, 8, 256, 1e-4),  # the table adds the tokenizer's 54.5 M
    'vqgan_1411m': (1411, 8, 256, 1.152e-3),
    'vitvq': (1851, 32, 1024, 4.5e-4),  # 1,697 M in the paper; see docs/paper_notes.md
    'randar_l': (343, 8, 1024, 4e-4),
    'randar_xl': (775, 8, 1024, 4e-4),
    'randar_xxl': (1411, 8, 1024, 4e-4),
    'rar_b': (259, 32, 2048, 4e-4),
    'rar_l': (459, 32, 2048, 4e-4),
    'rar_xl': (953, 32, 2048, 4e-4),
    'rar_xxl': (1496, 32, 2048, 4e-4),
    'open_magvit2_b': (344, 8, 768, 3e-4),
    'open_magvit2_l': (804, 8, 768, 3e-4),
    'open_magvit2_xl': (1487, 8, 768, 2.4e-4),
    'ibq_b': (343, 8, 768, 3e-4),
    'ibq_l': (650, 8, 768, 3e-4),
    'ibq_xl': (1076, 8, 768, 3e-4),
    'rq_transformer_480m': (481, 8, 2048, 5e-4),
    'rq_transformer_820m': (821, 8, 2048, 5e-4),
    'rq_transformer_1400m': (1388, 8, 2048, 5e-4),
    'rq_transformer_3800m': (3822, 32, 2048, 5e-4),
    'ibq_xxl': (2063, 8, 768, 3e-4),
    'bar_b': (415, 16, 2048, 4e-4),
    'bar_l': (1107, 32, 2048, 4e-4),
    'bar_open_magvit2_262k': (415, 16, 2048, 4e-4),  # ours
    'infinity_layer12': (91, 8, 768, 3e-4),  # ours: the released sizes have cross-attention to text
    'infinity_layer12_t2i': (125, 8, 256, 1e-4),
    'infinity_2b': (2205, 8, 256, 1e-4),
    'infinity_layer16': (267, 8, 768, 3e-4),
    'infinity_layer24': (701, 8, 768, 3e-4),
    'var_d16': (310, 8, 768, 3e-4),
    'var_d20': (601, 8, 768, 3e-4),
    'var_d24': (1033, 8, 768, 2.4e-4),
    'var_d30': (2010, 8, 1024, 3.2e-4),
    'maskgit': (172, 8, 256, 1e-4),  # the table adds the tokenizer's 54.5 M
    'maskgit_262k': (175, 8, 256, 1e-4),
    'maskgit_titok_l32': (177, 8, 2048, 2e-4),
    'maskgit_titok_b64': (177, 8, 2048, 2e-4),
    'maskgit_titok_s128': (295, 8, 2048, 2e-4),
    'maskgit_halton_base': (142, 8, 256, 1e-4),
    'maskgit_halton_large_384': (480, 8, 256, 1e-4),
    'fvq_l': (343, 8, 2048, 8e-4),
    'fvq_xl': (775, 16, 1024, 4e-4),
}


def leaves(names: str) -> dict[str, Any]:
    found = {}
    for name in names.split():
        config = read_config_file(str(ROOT / f'{name}.py')).to_dict()
        found |= flat({key: value for key, value in config.items() if key != 'paper'})
    return found


@pytest.mark.parametrize('name', NAMES)
def test_a_config_changes_what_its_name_claims_and_nothing_else(name: str):
    base_name, allowed = DIFFERENCES[name]
    base, row = leaves(base_name), leaves(f'generation/{name}')
    assert {key for key in base.keys() | row.keys() if base.get(key, KeyError) != row.get(key, KeyError)} == allowed


@pytest.mark.parametrize('name', marked(sorted(PUBLISHED)))
def test_sizes_batches_and_learning_rates_are_the_published_ones(name: str):
    config = load_config(str(ROOT / f'generation/{name}.py'))
    config.model.pop('tokenizer', None)  # a folder that training makes
    with torch.device('meta'):
        task = MODELS.build(config.model)
    names = [key for key, _ in task.generator.named_parameters()]
    for part in config.optim_wrapper.get('paramwise_cfg', {}).get('no_decay', ()):
        assert any(part in key for key in names), f'no parameter has {part} in its name'
    millions, devices, batch, lr = PUBLISHED[name]
    assert round(sum(parameter.numel() for parameter in task.generator.parameters()) / 1e6) == millions
    assert config.train_dataloader.batch_size * devices == batch
    scale = batch / config.auto_scale_lr.base_batch_size if config.auto_scale_lr.enable else 1
    assert config.optim_wrapper.optimizer.lr * scale == pytest.approx(lr)


def test_a_row_of_the_tables_has_one_config():
    rows = [row_id for row_id, _ in CLAIMED]
    assert sorted(rows) == sorted(set(rows))
    assert set(rows) == {f't11.{number}' for number in range(4, 33)}, 'all but the three GANs'


@pytest.mark.parametrize(('row_id', 'name'), CLAIMED)
def test_the_config_of_a_row_has_its_numbers(row_id: str, name: str):
    paper, row = PAPERS[name], ROWS[row_id]
    columns = dict(fid='fid', inception_score='is', precision='precision', recall='recall')
    printed = {key: float(row[column]) for key, column in columns.items() if row[column]}
    assert {key: value for key, value in paper.items() if key in columns} == printed
    if 'CFG' in row['note']:
        assert row['note'].endswith(f'CFG {leaves(f"generation/{name}")[GUIDANCE]}')


@pytest.mark.parametrize('name', marked(NAMES))
def test_the_tokenizer_that_a_row_names_gives_the_codes_of_its_generator(name: str):
    config = load_config(str(ROOT / f'generation/{name}.py'))
    source = (config.get('paper') or {}).get('tokenizer')
    if source is None:
        return
    with torch.device('meta'):
        tokenizer = MODELS.build(load_config(source).model).tokenizer
        generator = GENERATORS.build(config.model.generator)
    latents = isinstance(generator.layout, LatentLayout)
    assert (tokenizer.latent_layout if latents else tokenizer.layout)(256, 256) == generator.layout
    if issubclass(config.train_dataloader.dataset.type, CodesDataset):
        kind = 'latents' if latents else 'codes'
        assert config.train_dataloader.dataset.root == f'data/{kind}/imagenet_{Path(source).stem}'
    else:
        assert config.model.tokenizer == f'work_dirs/{Path(source).stem}/tokenizer'


@pytest.mark.parametrize(('name', 'tokens'), [('llamagen_xl_t2i', 120), ('infinity_layer12_t2i', 512)])
def test_the_captions_of_a_text_to_image_config_are_those_of_its_generator(name: str, tokens: int):
    config = load_config(str(ROOT / f'generation/{name}.py'))
    dataset, generator = config.train_dataloader.dataset, config.model.generator
    assert (dataset.tokens, dataset.channels) == (generator.caption_tokens, generator.caption_dim) == (tokens, 2048)


@pytest.mark.parametrize('name', marked(['llamagen_xl_t2i', 'infinity_layer12_t2i']))
def test_a_text_to_image_config_trains_on_captions_in_a_smoke_run(name: str, tmp_path: Path):
    config = shrink_config(load_config(str(ROOT / f'generation/{name}.py'), work_dir=str(tmp_path)))
    assert config.train_dataloader.dataset.type == 'RandomCaptionedCodes'
    assert config.model.generator.caption_dim == 2048
    proven: list[str] = []
    run_smoke(config, proven.append)
    assert [line.split(':')[0] for line in proven] == ['trains', 'saves', 'tests', 'resumes', 'exports']


@pytest.mark.parametrize('name', ['var_d16_fvq', 'var_photos', 'infinity_layer12', 'infinity_layer12_t2i'])
def test_a_generator_that_binds_models_the_codes_of_the_tokenizer_that_it_names(name: str):
    config = load_config(str(ROOT / f'generation/{name}.py'))
    stem = Path(config.model.pop('tokenizer')).parent.name
    (source,) = ROOT.glob(f'*/{stem}.py')
    with torch.device('meta'):
        tokenizer = MODELS.build(load_config(str(source)).model).tokenizer
        generator = MODELS.build(config.model).generator
    side = 64 if name == 'var_photos' else 256
    assert tokenizer.layout(side, side) == generator.layout
    assert tokenizer.quantizer.code_dim == generator.code_dim


@pytest.mark.parametrize('name', marked(['var_d30', 'infinity_layer12', 'ibq_l', 'open_magvit2_b', 'adm', 'cdm']))
def test_a_generator_trains_on_images_with_a_small_tokenizer_in_a_smoke_run(name: str, tmp_path: Path):
    config = shrink_config(load_config(str(ROOT / f'generation/{name}.py'), work_dir=str(tmp_path)))
    assert config.train_dataloader.dataset.type == 'BundledPhotos'
    proven: list[str] = []
    run_smoke(config, proven.append)
    assert [line.split(':')[0] for line in proven] == ['trains', 'saves', 'tests', 'resumes', 'exports']


@DIFFUSERS
def test_latent_diffusion_trains_in_a_smoke_run(tmp_path: Path):
    config = shrink_config(load_config(str(ROOT / 'generation/ldm_4_g.py'), work_dir=str(tmp_path)))
    assert config.train_dataloader.dataset.type == 'RandomCodes'
    proven: list[str] = []
    run_smoke(config, proven.append)
    assert [line.split(':')[0] for line in proven] == ['trains', 'saves', 'tests', 'resumes', 'exports']


RELEASES = {
    'ldm': ('ldm_4_g',),
    'ibq-gpt': ('ibq_b', 'ibq_l', 'ibq_xl', 'ibq_xxl'),
    'open-magvit2-gpt': ('open_magvit2_b', 'open_magvit2_l', 'open_magvit2_xl'),
    'bar': ('bar_b', 'bar_l'),
    'randar': ('randar_l', 'randar_xl'),
    'rar': ('rar_b', 'rar_l', 'rar_xl', 'rar_xxl'),
    'dit': ('dit_xl',),
    'mar': ('mar_l', 'mar_h'),
    'taming-gpt': ('vqgan_1411m',),
}


@pytest.mark.parametrize(('peer', 'name'), [(peer, name) for peer, names in RELEASES.items() for name in names])
def test_an_imported_model_is_saved_with_the_settings_of_its_config(peer: str, name: str):
    config = load_config(str(ROOT / f'generation/{name}.py'))
    dim = config.model.generator.get('dim')
    head, first = SimpleNamespace(in_features=dim), SimpleNamespace(out_features=dim)
    importer: Any = IMPORTERS.registered(peer)
    assert importer.sampling(SimpleNamespace(head=head, input=first, bits=16)) == dict(
        config.default_hooks.report.sampling
    )
