"""MaskGIT's tokenizers: the original's flax parameters, and the layout of its PyTorch ports (open-muse, TiTok)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import MaskGITDecoder, MaskGITEncoder
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .flax_file import read_flax_or_torch

CODEBOOK = 'quantize.embedding.weight'
MARKERS = ('encoder.conv_in.weight', CODEBOOK, 'decoder.mid.0.conv1.weight')
FLAX_CODEBOOK = 'quantizer/codebook'
BLOCK = re.compile(r'encoder\.down\.(\d+)\.block\.(\d+)\.conv2\.weight')
UP_BLOCK = re.compile(r'decoder\.up\.(\d+)\.block\.(\d+)\.conv2\.weight')
# flax's names of the parts of a residual block.
PARTS = dict(GroupNorm_0='norm1', Conv_0='conv1', GroupNorm_1='norm2', Conv_1='conv2', Conv_2='nin_shortcut')


def import_tokenizer(state: Mapping[str, Tensor], norm_groups: int = 32) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from MaskGIT's.

    The losses are the original's: beta (0.25) on the commitment term, and an entropy term; the ports have beta on the codebook
    term and no entropy.

    Args:
        norm_groups: Groups of the GroupNorms, which no file stores.
    """
    if any('/' in key for key in state):
        state = from_flax(state)
    if not state.keys() >= set(MARKERS):
        raise LayoutError(f"not MaskGIT's tokenizer: no {' or '.join(MARKERS)}, nor {FLAX_CODEBOOK} of the flax file.")
    sizes = {(int(m[1]), int(m[2])): len(value) for key, value in state.items() if (m := BLOCK.fullmatch(key))}
    levels, ch = 1 + max(level for level, _ in sizes), len(state['encoder.conv_in.weight'])
    common = dict(
        ch=ch,
        ch_mult=[sizes[level, 0] // ch for level in range(levels)],
        num_res_blocks=1 + max(block for _, block in sizes),
        z_channels=len(state['encoder.conv_out.weight']),
        norm_groups=norm_groups,
    )
    K, D = state[CODEBOOK].shape
    config = dict(
        type=Tokenizer,
        encoder=dict(type=MaskGITEncoder, **common, in_channels=state['encoder.conv_in.weight'].shape[1]),
        quantizer=dict(
            type='VectorQuantizer',
            codebook_size=K,
            code_dim=D,
            regularizer=dict(type='EntropyRegularizer', weight=0.1),
        ),
        decoder=dict(type=MaskGITDecoder, **common, out_channels=len(state['decoder.conv_out.weight'])),
        quant_kernel=0,
    )
    return config, rename(state, rules(levels, common['num_res_blocks']), 'MaskGIT')


def import_decoder(state: Mapping[str, Tensor], norm_groups: int = 32) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict (`decoder.` keys) of our decoder from the `decoder.` keys of a PyTorch port."""
    found = {(int(m[1]), int(m[2])): len(value) for key, value in state.items() if (m := UP_BLOCK.fullmatch(key))}
    levels, blocks = 1 + max(level for level, _ in found), 1 + max(block for _, block in found)
    widths = [found[level, 0] for level in range(levels)]
    config = dict(
        type=MaskGITDecoder,
        ch=math.gcd(*widths),
        ch_mult=[width // math.gcd(*widths) for width in widths],
        num_res_blocks=blocks,
        z_channels=state['decoder.conv_in.weight'].shape[1],
        out_channels=len(state['decoder.conv_out.weight']),
        norm_groups=norm_groups,
    )
    return config, rename(state, rules(levels, blocks), 'MaskGIT')


def rules(levels: int, blocks: int) -> Rules:
    """The decoder's levels are counted in the order they run, in the ports from the image."""
    found = [
        (re.escape(CODEBOOK), 'quantizer.embedding'),
        (r'((?:encoder|decoder)\.(?:conv_in|conv_out|norm_out|mid)\..*)', r'\1'),
    ]
    for level in range(levels):
        for theirs, ours in ((f'encoder.down.{level}', level), (f'decoder.up.{level}', levels - 1 - level)):
            half, escaped = theirs.split('.')[0], re.escape(theirs)
            found += [
                (rf'{escaped}\.block\.(\d+)\.nin_shortcut\.(.*)', rf'{half}.levels.{ours}.\1.shortcut.\2'),
                (rf'{escaped}\.block\.(\d+)\.(.*)', rf'{half}.levels.{ours}.\1.\2'),
                (rf'{escaped}\.upsample_conv\.(.*)', rf'{half}.levels.{ours}.{blocks}.conv.\1'),
            ]
    return found


def from_flax(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """flax's parameters by path (`encoder/ResBlock_0/Conv_0/kernel`, HWIO) with the keys and axes of the ports."""
    state = {key.removeprefix('params/'): value for key, value in state.items()}
    if FLAX_CODEBOOK not in state:
        raise LayoutError(f"not MaskGIT's tokenizer: no {FLAX_CODEBOOK} among the parameters.")
    levels, blocks = flax_sizes(state)
    return {
        port_key(key, levels, blocks): value.permute(3, 2, 0, 1).contiguous() if value.dim() == 4 else value
        for key, value in state.items()
    }


def flax_sizes(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """The number of levels, and of residual blocks of each."""
    levels = len({key.split('/')[1] for key in state if key.startswith('decoder/Conv_')}) - 1
    stages = {key.split('/')[1] for key in state if key.startswith('encoder/ResBlock_')}
    return levels, len(stages) // (levels + 1)


def port_key(key: str, levels: int, blocks: int) -> str:
    """What the ports call one of flax's parameters.

    flax numbers residual blocks through the levels: in the encoder the middle comes last, in the decoder first.
    """
    if key == FLAX_CODEBOOK:
        return CODEBOOK
    parts = key.split('/')
    half, suffix = parts[0], 'bias' if parts[-1] == 'bias' else 'weight'
    if half in ('encoder', 'decoder') and (match := re.fullmatch(r'ResBlock_(\d+)', parts[1])):
        stage, index = divmod(int(match[1]), blocks)
        names = [f'down.{level}.block' for level in range(levels)] + ['mid']
        if half == 'decoder':
            names = ['mid'] + [f'up.{level}.block' for level in reversed(range(levels))]
        return f'{half}.{names[stage]}.{index}.{PARTS[parts[2]]}.{suffix}'
    names = {'GroupNorm_0': 'norm_out', 'Conv_0': 'conv_in', f'Conv_{levels if half == "decoder" else 1}': 'conv_out'}
    if half == 'decoder':
        names |= {f'Conv_{1 + n}': f'up.{levels - 1 - n}.upsample_conv' for n in range(levels - 1)}
    if half not in ('encoder', 'decoder') or parts[1] not in names:
        raise LayoutError(f'MaskGIT: unknown parameter {key}.')
    return f'{half}.{names[parts[1]]}.{suffix}'


@IMPORTERS.register_module(name='maskgit-vq')
class MaskGITImporter(TokenizerImporter):
    """MaskGIT's tokenizers."""

    read = staticmethod(import_tokenizer)
    read_file = staticmethod(read_flax_or_torch)
