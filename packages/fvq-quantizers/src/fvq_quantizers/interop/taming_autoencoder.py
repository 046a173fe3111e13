"""The encoder and decoder of taming-transformers, whose key layout RQ-VAE, VAR and latent diffusion keep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import VQGANDecoder, VQGANEncoder
from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename

QUANT_CONV_RULES: Rules = ((r'quant_conv\.(.*)', r'pre_quant.\1'), (r'post_quant_conv\.(.*)', r'post_quant.\1'))
MID_RULES: Rules = (
    (r'(encoder|decoder)\.mid\.block_1\.(.*)', r'\1.mid.0.\2'),
    (r'(encoder|decoder)\.mid\.attn_1\.(.*)', r'\1.mid.1.\2'),
    (r'(encoder|decoder)\.mid\.block_2\.(.*)', r'\1.mid.2.\2'),
)


def import_autoencoder(
    state: Mapping[str, Tensor], source: str, drop: tuple[str, ...] = ()
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The arguments of `Tokenizer` except the quantizer, and their state dict.

    Args:
        state: The peer's state dict without the keys of its quantizer.
    """
    config = autoencoder_config(state, source)
    last = len(config['encoder']['ch_mult']) - 1
    return config, rename(split_qkv(state), autoencoder_rules(last), source, drop)


def autoencoder_rules(last: int) -> Rules:
    """The rules for both halves: the peer counts decoder levels from the image, we from the coarsest, `last`."""
    rules = [(r'((?:encoder|decoder)\.(?:conv_in|conv_out|norm_out)\..*)', r'\1'), *MID_RULES, *QUANT_CONV_RULES]
    for level in range(last + 1):
        for theirs, ours in ((f'encoder.down.{level}', level), (f'decoder.up.{level}', last - level)):
            half, escaped = theirs.split('.')[0], re.escape(theirs)
            rules += [
                (rf'{escaped}\.block\.(\d+)\.nin_shortcut\.(.*)', rf'{half}.levels.{ours}.blocks.\1.shortcut.\2'),
                (rf'{escaped}\.block\.(\d+)\.(.*)', rf'{half}.levels.{ours}.blocks.\1.\2'),
                (rf'{escaped}\.attn\.(\d+)\.(.*)', rf'{half}.levels.{ours}.attention.\1.\2'),
                (rf'{escaped}\.((?:downsample|upsample)\.conv\..*)', rf'{half}.levels.{ours}.\1'),
            ]
    return rules


def split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split VAR's joint convolution for queries, keys and values into three."""
    found = {}
    for key, value in state.items():
        if '.qkv.' in key:
            found.update(
                {key.replace('.qkv.', f'.{name}.'): part for name, part in zip('qkv', value.chunk(3), strict=True)}
            )
        else:
            found[key] = value
    return found


def autoencoder_config(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """Encoder and decoder configs, read off keys and shapes."""
    if 'encoder.conv_in.weight' not in state or 'encoder.down.0.block.0.conv2.weight' not in state:
        raise LayoutError(
            f'{source}: not a tokenizer in the layout of taming-transformers: no encoder.conv_in.weight or '
            'encoder.down.0.block.0.conv2.weight.'
        )
    ch, in_channels = state['encoder.conv_in.weight'].shape[:2]
    halves = {}
    for half, levels_of in (('encoder', 'down'), ('decoder', 'up')):
        pattern = re.compile(rf'{half}\.{levels_of}\.(\d+)\.block\.(\d+)\.conv2\.weight')
        blocks = {(int(m[1]), int(m[2])): state[key].shape[0] for key in state if (m := pattern.fullmatch(key))}
        levels = 1 + max((level for level, _ in blocks), default=-1)
        counts = [sum(of == level for of, _ in blocks) for level in range(levels)]
        halves[half] = ([blocks.get((level, 0), 0) // ch for level in range(levels)], counts)
    ch_mult, counts = halves['encoder']
    extra = {theirs - ours for theirs, ours in zip(halves['decoder'][1], counts, strict=False)}
    if halves['decoder'][0] != ch_mult or len(extra) != 1:
        raise UserError(f'{source}: encoder and decoder have different levels, {halves}; this layout is not supported.')
    common = dict(ch=ch, ch_mult=ch_mult, num_res_blocks=counts[0] if len(set(counts)) == 1 else counts)
    return dict(
        encoder=dict(
            type=VQGANEncoder,
            **common,
            in_channels=in_channels,
            z_channels=state['encoder.conv_out.weight'].shape[0],
            attention=attention(state, 'encoder', 'down', len(ch_mult)),
        ),
        decoder=dict(
            type=VQGANDecoder,
            **common,
            extra_blocks=extra.pop(),
            out_channels=state['decoder.conv_out.weight'].shape[0],
            z_channels=state['decoder.conv_in.weight'].shape[1],
            attention=attention(state, 'decoder', 'up', len(ch_mult)),
        ),
        quant_kernel=state['quant_conv.weight'].shape[-1] if 'quant_conv.weight' in state else 0,
    )


def attention(state: Mapping[str, Tensor], half: str, levels_of: str, levels: int) -> bool | list[int]:
    """The `attention` of `VQGANEncoder` and `VQGANDecoder`: the levels that have it besides the middle, or False."""
    if not any(key.startswith(f'{half}.mid.attn_1.') for key in state):
        return False
    prefix = f'{half}.{levels_of}'
    found = [level for level in range(levels) if any(key.startswith(f'{prefix}.{level}.attn.') for key in state)]
    return True if found == [levels - 1] else found
