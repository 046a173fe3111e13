"""GigaTok's 1-D tokenizers (`VQVitModelPlus`, `multi_level_query_init`): Q-Formers between convolutions without attention."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import AdaptiveGroupNormDecoder, QFormerDecoder, QFormerEncoder, VQGANEncoder
from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .open_magvit2 import channels_first

MARKERS = ('encoder.conv_in.weight', 's2to1encoder.global_proj.weight', 's1to2decoder.decoder_embed.weight')
HEAD_WIDTH = 64  # of attention, in every size
BLOCK = re.compile(r'(encoder|decoder)\.conv_blocks\.(\d+)\.res\.(\d+)\.conv2\.weight')
# The head of the alignment with DINOv2, and the last codes of training.
NOT_WEIGHTS = (r's1to2decoder\.distill_mlp\..*', r'quantize\.codebook_used')
TO_SPACE = r'decoder\.conv_blocks\.(\d+)\.upsample\.conv1\.(.*)'
HALVES = ('s2to1encoder', 's1to2decoder')
LAYERS = {'multihead_attn': 'cross_attn', 'linear1': 'mlp.fc1', 'linear2': 'mlp.fc2'}
RULES: Rules = (
    (r'(encoder|decoder)\.(conv_in|conv_out|norm_out)\.(.*)', r'\1.cnn.\2.\3'),
    (r'encoder\.mid\.0\.(.*)', r'encoder.cnn.mid.0.\1'),
    (r'encoder\.mid\.1\.(.*)', r'encoder.cnn.mid.2.\1'),
    (r'encoder\.conv_blocks\.(\d+)\.res\.(\d+)\.nin_shortcut\.(.*)', r'encoder.cnn.levels.\1.blocks.\2.shortcut.\3'),
    (r'encoder\.conv_blocks\.(\d+)\.res\.(\d+)\.(.*)', r'encoder.cnn.levels.\1.blocks.\2.\3'),
    (r'encoder\.conv_blocks\.(\d+)\.downsample\.(.*)', r'encoder.cnn.levels.\1.downsample.\2'),
    (r'decoder\.mid\.([01])\.(.*)', r'decoder.cnn.mid.\1.\2'),
    (r'decoder\.adaptive\.(\d+)\.gamma\.(.*)', r'decoder.cnn.adaptive.\1.scale.\2'),
    (r'decoder\.adaptive\.(\d+)\.beta\.(.*)', r'decoder.cnn.adaptive.\1.shift.\2'),
    (r'decoder\.conv_blocks\.(\d+)\.res\.(\d+)\.nin_shortcut\.(.*)', r'decoder.cnn.levels.\1.\2.shortcut.\3'),
    (r'decoder\.conv_blocks\.(\d+)\.res\.(\d+)\.(.*)', r'decoder.cnn.levels.\1.\2.\3'),
    (r's\dto\d(encoder|decoder)\.ln_pre\.(.*)', r'\1.embed.0.\2'),
    (r's\dto\d(encoder|decoder)\.(?:encoder|decoder)_embed\.(.*)', r'\1.embed.1.\2'),
    (r's\dto\d(encoder|decoder)\.ln_post\.(.*)', r'\1.transformer.norm.\2'),
    (r's2to1encoder\.global_proj\.(.*)', r'encoder.query_map.\1'),
    (r's2to1encoder\.conv_out\.(.*)', r'encoder.proj_out.\1'),
    (r's1to2decoder\.conv_out\.(.*)', r'decoder.conv_out.\1'),
    # The latent asks in the encoder, and is asked in the decoder.
    (r's2to1encoder\.latent_token_positional_embedding', 'encoder.transformer.positions'),
    (r's2to1encoder\.positional_embedding', 'encoder.transformer.memory_positions'),
    (r's1to2decoder\.positional_embedding', 'decoder.transformer.positions'),
    (r's1to2decoder\.latent_token_positional_embedding', 'decoder.transformer.memory_positions'),
    *(
        (rf's\dto\d(encoder|decoder)\.transformer\.(\d+)\.{a}\.(.*)', rf'\1.transformer.blocks.\2.{b}.\3')
        for a, b in LAYERS.items()
    ),
    (r's\dto\d(encoder|decoder)\.transformer\.(\d+\.(?:self_attn|norm\d)\..*)', r'\1.transformer.blocks.\2'),
    (r'quant_conv\.(.*)', r'encoder.to_latent.\1'),
    (r'post_quant_conv\.(.*)', r'decoder.from_latent.\1'),
    (r'quantize\.embedding\.weight', 'quantizer.embedding'),
)
LINEAR = ('encoder.proj_out.weight', 'encoder.to_latent.weight', 'decoder.from_latent.weight')


def import_tokenizer(
    state: Mapping[str, Tensor], heads: int | None = None, entropy_weight: float = 0.0
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from GigaTok's.

    Codes are l2-normalized and trained with the rotation trick, which no file stores, as in every released one.

    Args:
        heads: Attention heads, if not one for 64 channels.
        entropy_weight: Weight of the entropy loss (`entropy_loss_ratio`), for training on; 0.005 in XL-XXL.
    """
    if missing := [key for key in MARKERS if key not in state]:
        raise LayoutError(f'not a 1-D tokenizer of GigaTok: no {missing[0]}.')
    widths: dict[str, dict[tuple[int, int], int]] = dict(encoder={}, decoder={})
    for key, value in state.items():
        if found := BLOCK.fullmatch(key):
            widths[found[1]][int(found[2]), int(found[3])] = len(value)
    levels = 1 + max(level for level, _ in widths['encoder'])
    encoder_blocks, decoder_blocks = (1 + max(block for _, block in each) for each in widths.values())
    ch, in_channels = state['encoder.conv_in.weight'].shape[:2]
    K, D = state['quantize.embedding.weight'].shape
    common = dict(ch=ch, ch_mult=[widths['encoder'][level, 0] // ch for level in range(levels)])
    encoder = dict(
        type=VQGANEncoder,
        **common,
        num_res_blocks=encoder_blocks,
        z_channels=len(state['encoder.conv_out.weight']),
        in_channels=in_channels,
        attention=False,
    )
    decoder = dict(
        type=AdaptiveGroupNormDecoder,
        **common,
        num_res_blocks=decoder_blocks,
        z_channels=state['decoder.conv_in.weight'].shape[1],
        out_channels=len(state['decoder.conv_out.weight']),
        mid_blocks=2,
        bias=True,
    )
    halves = [dict(half_sizes(state, half, heads, 2 ** (levels - 1)), z_channels=D) for half in HALVES]
    quantizer: dict[str, Any] = dict(type='VectorQuantizer', codebook_size=K, code_dim=D)
    quantizer |= dict(normalize=dict(type='L2Normalize'), estimator=dict(type='RotationTrick'))
    if entropy_weight:
        quantizer['regularizer'] = dict(type='EntropyRegularizer', weight=entropy_weight)
    config = dict(
        type=Tokenizer,
        encoder=dict(type=QFormerEncoder, cnn=encoder, **halves[0]),
        quantizer=quantizer,
        decoder=dict(type=QFormerDecoder, cnn=decoder, **halves[1]),
        quant_kernel=0,
    )
    to_space = (TO_SPACE, rf'decoder.cnn.levels.\1.{decoder_blocks}.conv.\2')
    ordered = {key: channels_first(value) if re.fullmatch(TO_SPACE, key) else value for key, value in state.items()}
    renamed = rename(ordered, (to_space, *RULES), 'GigaTok', NOT_WEIGHTS)
    return config, {key: in_our_shape(key, value) for key, value in renamed.items()}


def half_sizes(state: Mapping[str, Tensor], half: str, heads: int | None, factor: int) -> dict[str, Any]:
    """What a half's transformer is like."""
    grid, _, width = state[f'{half}.positional_embedding'].shape
    if heads is None and width % HEAD_WIDTH:
        raise UserError(f'GigaTok: a width of {width} does not tell the number of heads; give it with --heads.')
    return dict(
        image_size=math.isqrt(grid) * factor,
        width=width,
        depth=len({key.split('.')[2] for key in state if key.startswith(f'{half}.transformer.')}),
        heads=heads or width // HEAD_WIDTH,
        tokens=len(state[f'{half}.latent_token_positional_embedding']),
    )


def in_our_shape(key: str, value: Tensor) -> Tensor:
    """Positions without the batch's axis, and linear maps in place of 1x1 convolutions."""
    if key.endswith('positions'):
        return value[:, 0]
    return value.flatten(1) if key in LINEAR else value


@IMPORTERS.register_module(name='gigatok')
class GigaTokImporter(TokenizerImporter):
    """GigaTok's 1-D tokenizers."""

    read = staticmethod(import_tokenizer)
