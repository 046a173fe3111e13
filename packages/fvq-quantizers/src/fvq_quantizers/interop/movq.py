"""MoVQ as Kandinsky released it (MoVQGAN), and diffusers' `VQModel`, with MoVQ's norms or plain ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.autoencoders import MoVQDecoder
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .kl import rename_diffusers
from .taming import NOT_WEIGHTS
from .taming_autoencoder import autoencoder_rules, import_autoencoder

CODEBOOK = 'quantize.embedding.weight'
MODULATION = 'decoder.norm_out.scale.weight'  # in our names, where the decoder's norms are modulated
NAMES = dict(norm_layer='norm', conv_y='scale', conv_b='shift')
AVERAGES = (r'ema_\w+',)  # of the weights, in training files, under names without dots


def import_movq(state: Mapping[str, Tensor], norm_groups: int = 32) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from MoVQGAN's.

    Args:
        norm_groups: Groups of the norms, which no file stores.
    """
    config, renamed = import_vq(state, 'MoVQ', norm_groups)
    if MODULATION not in renamed:
        raise LayoutError('MoVQ: the norms of its decoder are not modulated by the codes; is it a VQGAN (taming)?')
    return config, renamed


def import_diffusers_vq(state: Mapping[str, Tensor], norm_groups: int = 32) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from diffusers' `VQModel`, with `norm_type` group or spatial.

    Args:
        norm_groups: `norm_num_groups` of the `config.json` beside the file.
    """
    if 'decoder.conv_in.weight' not in state or not any(key.startswith('decoder.up_blocks.') for key in state):
        raise LayoutError('diffusers: not its VQModel: no decoder.conv_in.weight or decoder.up_blocks.')
    levels = len({key.split('.')[2] for key in state if key.startswith('decoder.up_blocks.')})
    network = plain_norms({key: value for key, value in state.items() if key != CODEBOOK})
    renamed = rename_diffusers(network, levels) | {key: state[key] for key in (CODEBOOK,) if key in state}
    return import_vq(renamed, 'diffusers', norm_groups)


def plain_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Diffusers' names with attention's modulated norm under that of a plain one."""
    return {key.replace('.spatial_norm.', '.norm.'): value for key, value in state.items()}


def modulated_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MoVQGAN's names of the parts of a norm in ours."""
    parts = re.compile(rf'\.({"|".join(NAMES)})\.')
    return {parts.sub(lambda match: f'.{NAMES[match[1]]}.', key): value for key, value in state.items()}


def our_name(key: str, levels: int) -> str:
    """Our name of a parameter of diffusers' `VQModel` or `AutoencoderKL` with so many levels.

    Raises:
        UserError: They have no parameter of this name.
    """
    if key == CODEBOOK:
        return 'quantizer.embedding'
    network = rename_diffusers(plain_norms({key: torch.empty(0)}), levels)
    (name,) = rename(modulated_norms(network), autoencoder_rules(levels - 1), 'diffusers')
    return name


def import_vq(state: Mapping[str, Tensor], source: str, norm_groups: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """From latent diffusion's keys, with MoVQ's norms in the decoder or without.

    Both have beta on the codebook term (`VQLoss(legacy=True)`), diffusers by the default of its quantizer.
    """
    if CODEBOOK not in state:
        raise LayoutError(f'{source}: no {CODEBOOK}, so no codebook.')
    network = modulated_norms({key: value for key, value in state.items() if key != CODEBOOK})
    config, renamed = import_autoencoder(network, source, (*NOT_WEIGHTS, *AVERAGES))
    K, D = state[CODEBOOK].shape
    for half in ('encoder', 'decoder'):
        config[half]['norm_groups'] = norm_groups
    if MODULATION in renamed:
        config['decoder'] |= dict(type=MoVQDecoder, latent_channels=renamed[MODULATION].shape[1])
    config['quantizer'] = dict(
        type='VectorQuantizer', codebook_size=K, code_dim=D, loss=dict(type='VQLoss', legacy=True)
    )
    return dict(type=Tokenizer, **config), renamed | {'quantizer.embedding': state[CODEBOOK]}


@IMPORTERS.register_module(name='movq')
class MoVQImporter(TokenizerImporter):
    """Kandinsky's MoVQGANs."""

    read = staticmethod(import_movq)


@IMPORTERS.register_module(name='diffusers-vq')
class DiffusersVQImporter(TokenizerImporter):
    """Diffusers' `VQModel`."""

    read = staticmethod(import_diffusers_vq)
