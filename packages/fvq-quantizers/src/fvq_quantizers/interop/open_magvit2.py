"""Open-MAGVIT2's checkpoints (`VQModel` of SEED-Voken): networks without attention around signs, which have no weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import AdaptiveGroupNormDecoder, MAGVIT2Encoder
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .taming import NOT_WEIGHTS

MARKERS = ('encoder.conv_in.weight', 'encoder.mid_block.0.conv1.weight', 'decoder.adaptive.0.gamma.weight')
BLOCK = re.compile(r'encoder\.down\.(\d+)\.block\.(\d+)\.conv2\.weight')
TO_SPACE = '.upsample.conv1.'


def import_tokenizer(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from Open-MAGVIT2's; a code has as many bits as the latent has channels."""
    if not state.keys() >= set(MARKERS):
        raise LayoutError(f"not Open-MAGVIT2's tokenizer: no {' or '.join(MARKERS)}.")
    sizes = {(int(m[1]), int(m[2])): len(value) for key, value in state.items() if (m := BLOCK.fullmatch(key))}
    ch, in_channels = state['encoder.conv_in.weight'].shape[:2]
    levels, blocks = 1 + max(level for level, _ in sizes), 1 + max(block for _, block in sizes)
    bits = len(state['encoder.conv_out.weight'])
    common = dict(
        ch=ch,
        ch_mult=[sizes[level, 0] // ch for level in range(levels)],
        num_res_blocks=blocks,
        z_channels=bits,
    )
    config = dict(
        type=Tokenizer,
        encoder=dict(type=MAGVIT2Encoder, **common, in_channels=in_channels),
        quantizer=dict(type='LFQ', codebook_size=2**bits),
        decoder=dict(type=AdaptiveGroupNormDecoder, **common, out_channels=len(state['decoder.conv_out.weight'])),
        quant_kernel=0,
    )
    ordered = {key: channels_first(value) if TO_SPACE in key else value for key, value in state.items()}
    return config, rename(ordered, rules(levels, blocks), 'Open-MAGVIT2', (*NOT_WEIGHTS, r'quantize\..*'))


def channels_first(value: Tensor) -> Tensor:
    """A tensor before depth becomes space: the peer's channels are (row, column, channel), ours (channel, row, column)."""
    return value.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1)


def rules(levels: int, blocks: int) -> Rules:
    """Levels of the peer's decoder are counted from the image, of ours in the order they run."""
    found = [
        (r'((?:encoder|decoder)\.(?:conv_in|conv_out|norm_out)\..*)', r'\1'),
        (r'(encoder|decoder)\.mid_block\.(\d+)\.(.*)', r'\1.mid.\2.\3'),
    ]
    for level in range(levels):
        mirrored = levels - 1 - level
        for theirs, ours in ((f'encoder.down.{level}', level), (f'decoder.up.{level}', mirrored)):
            half, escaped = theirs.split('.')[0], re.escape(theirs)
            found += [
                (rf'{escaped}\.block\.(\d+)\.nin_shortcut\.(.*)', rf'{half}.levels.{ours}.\1.shortcut.\2'),
                (rf'{escaped}\.block\.(\d+)\.(.*)', rf'{half}.levels.{ours}.\1.\2'),
                (rf'{escaped}\.downsample\.(.*)', rf'{half}.levels.{ours}.{blocks}.\1'),
                (rf'{escaped}\.upsample\.conv1\.(.*)', rf'{half}.levels.{ours}.{blocks}.conv.\1'),
            ]
        found += [
            (rf'decoder\.adaptive\.{level}\.gamma\.(.*)', rf'decoder.adaptive.{mirrored}.scale.\1'),
            (rf'decoder\.adaptive\.{level}\.beta\.(.*)', rf'decoder.adaptive.{mirrored}.shift.\1'),
        ]
    return found


@IMPORTERS.register_module(name='open-magvit2')
class OpenMAGVIT2Importer(TokenizerImporter):
    """Open-MAGVIT2's tokenizers."""

    read = staticmethod(import_tokenizer)
