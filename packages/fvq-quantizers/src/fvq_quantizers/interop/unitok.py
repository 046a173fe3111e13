"""UniTok's tokenizers (FoundationVision/UniTok): its `UniTok`, of which only the image half is read, and `VQVAE`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import ViTaminDecoder, ViTaminEncoder
from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

BACKBONE = 'encoder.patch_embed.backbone.'
STEM, POOL, PIXELS = f'{BACKBONE}stem.conv1.weight', f'{BACKBONE}pool.proj.weight', 'decoder.up_conv4.conv2.weight'
CODEBOOK = re.compile(r'quantize(r)?\.codebooks\.(\d+)\.codebook\.weight')
# Of two towers trained on image-text pairs, what images alone do not need; a zero in place of positions; what follows from use.
NOT_IMAGES = (r'text_encoder\..*', r'fc_norm\..*', r'projection\..*', r'logit_scale', r'encoder\.pos_embed')
STATISTICS = (r'quantizer?\.codebooks\.\d+\.vocab_usage', r'(?:post_)?quant_proj\.attn\.zero_k_bias')
MBCONV = (
    (r'pre_norm', 'norm'),
    (r'conv1_1x1', 'expand'),
    (r'conv2_kxk', 'depthwise'),
    (r'conv3_1x1', 'reduce'),
    (r'up\.conv', 'upsample.conv'),
    (r'shortcut\.expand', 'shortcut.1'),
    (r'shortcut\.conv', 'shortcut.0.conv'),
)
PROJECTION = (
    (r'norm1', 'norm1'),
    (r'norm3', 'norm2'),
    (r'norm2', 'norm3'),
    (r'proj', 'linear'),
    (r'attn\.qkv', 'qkv'),
    (r'attn\.proj', 'attention_out'),
    (r'mlp\.norm', 'mlp.norm'),
    (r'mlp\.w0', 'mlp.gate'),
    (r'mlp\.w1', 'mlp.value'),
    (r'mlp\.w2', 'mlp.out'),
)
RULES: Rules = (
    (r'quantizer?\.codebooks\.(\d+)\.codebook\.weight', r'quantizer.quantizers.\1.embedding'),
    (r'encoder\.(?:fc_)?norm\.(.*)', r'encoder.norm.\1'),  # one or the other, at the same place
    (r'decoder\.norm\.(.*)', r'decoder.norm.\1'),
    (rf'{re.escape(BACKBONE)}stem\.conv1\.(.*)', r'encoder.conv_in.\1'),
    (rf'{re.escape(BACKBONE)}stem\.norm1\.(.*)', r'encoder.norm_in.\1'),
    (rf'{re.escape(BACKBONE)}stem\.conv2\.(.*)', r'encoder.conv_stem.\1'),
    (rf'{re.escape(BACKBONE)}pool\.norm\.(.*)', r'encoder.norm_pool.\1'),
    (rf'{re.escape(BACKBONE)}pool\.proj\.(.*)', r'encoder.pool.\1'),
    (r'decoder\.up_conv1\.conv\.(.*)', r'decoder.upsample.conv.\1'),
    (r'decoder\.up_conv4\.conv1\.conv\.(.*)', r'decoder.upsample_out.conv.\1'),
    (r'decoder\.up_conv4\.norm1\.(.*)', r'decoder.norm_out.\1'),
    (r'decoder\.up_conv4\.conv2\.(.*)', r'decoder.conv_out.\1'),
    (r'(encoder|decoder)\.blocks\.(\d+)\.mlp\.w0\.(.*)', r'\1.blocks.\2.mlp.gate.\3'),
    (r'(encoder|decoder)\.blocks\.(\d+)\.mlp\.w1\.(.*)', r'\1.blocks.\2.mlp.value.\3'),
    (r'(encoder|decoder)\.blocks\.(\d+)\.mlp\.w2\.(.*)', r'\1.blocks.\2.mlp.out.\3'),
    (r'(encoder|decoder)\.blocks\.(\d+)\.((?:norm\d|attn|mlp\.norm)\..*)', r'\1.blocks.\2.\3'),
    (r'quant_proj\.(weight|bias)', r'pre_quant.\1'),
    (r'post_quant_proj\.(weight|bias)', r'post_quant.\1'),
    *((rf'quant_proj\.{theirs}\.(.*)', rf'encoder.projection.{ours}.\1') for theirs, ours in PROJECTION),
    *((rf'post_quant_proj\.{theirs}\.(.*)', rf'decoder.projection.{ours}.\1') for theirs, ours in PROJECTION),
    (r'quant_proj\.attn\.([qv]_bias)', r'encoder.projection.\1'),
    (r'post_quant_proj\.attn\.([qv]_bias)', r'decoder.projection.\1'),
)


def import_tokenizer(
    state: Mapping[str, Tensor], causal: bool = False, heads: int | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from UniTok's, images only.

    Args:
        causal: Whether the attention of the projections is, as in the release of February 2025. That of April 2025 has the
            same keys and full attention, so no file tells.
        heads: Of a transformer block; by default of 64 channels each.
    """
    codebooks = sorted((int(m[2]), key) for key in state if (m := CODEBOOK.fullmatch(key)))
    if not codebooks or not state.keys() >= {STEM, POOL, PIXELS}:
        raise LayoutError(f'UniTok: not its tokenizer: no {STEM}, {POOL}, {PIXELS} or quantizer.codebooks.')
    if any(key.startswith('encoder.reg_token') for key in state):
        raise UserError('UniTok: a file with query tokens (num_query), which no release has; only grids are imported.')
    depths, offsets = stages(state)
    K, D = state[codebooks[0][1]].shape
    attentive = 'quant_proj.attn.qkv.weight' in state
    # `VQVAE` has a head of its projections for each codebook, `UniTok` one for each multiple of the codes' width.
    own = len(codebooks) if codebooks[0][1].startswith('quantize.') else None
    width = len(state[POOL])
    common: dict[str, Any] = dict(
        conv_widths=[len(state[f'{BACKBONE}stages.{stage}.0.conv3_1x1.weight']) for stage in range(len(depths))],
        conv_depths=depths,
        width=width,
        heads=heads or max(1, width // 64),
        z_channels=len(codebooks) * D if attentive else None,
        projection_heads=own if attentive else None,
        causal=causal,
    )
    config = dict(
        type=Tokenizer,
        encoder=dict(type=ViTaminEncoder, **common, depth=count(state, 'encoder.blocks')),
        quantizer=dict(
            type='ProductQuantizer',
            quantizer=dict(
                type='VectorQuantizer',
                codebook_size=K,
                code_dim=D,
                normalize=dict(type='L2Normalize'),
                init=dict(type='UniformInit', scale=D**-0.5 / 36),
            ),
            groups=len(codebooks),
        ),
        decoder=dict(type=ViTaminDecoder, **common, depth=count(state, 'decoder.blocks')),
        quant_kernel=0 if attentive else 1,
    )
    renamed = rename(state, (*offsets, *RULES), 'UniTok', (*NOT_IMAGES, *STATISTICS))
    for name in ('pre_quant.weight', 'post_quant.weight'):
        if name in renamed:
            renamed[name] = renamed[name][..., None, None]  # of a linear map, here a 1x1 convolution
    return config, renamed


def stages(state: Mapping[str, Tensor]) -> tuple[list[int], Rules]:
    """The number of blocks of each stage of convolutions, finest first, and rules that count them through as ours does.

    Raises if the decoder's stages are not the encoder's.
    """
    depths = [count(state, f'{BACKBONE}stages.{stage}') for stage in range(count(state, f'{BACKBONE}stages'))]
    mirrored = [count(state, f'decoder.up_conv{stage}') for stage in (3, 2)]
    if depths != mirrored:
        raise UserError(
            f'UniTok: its encoder has {depths} blocks of convolutions, its decoder {mirrored}; not imported.'
        )
    rules: list[tuple[str, str]] = []
    for stage, depth in enumerate(depths):
        for block in range(depth):
            sides = (
                (f'{BACKBONE}stages.{stage}', f'encoder.stages.{sum(depths[:stage]) + block}'),
                (f'decoder.up_conv{3 - stage}', f'decoder.stages.{sum(depths[stage + 1 :]) + block}'),
            )
            for theirs, ours in sides:
                rules += [(rf'{re.escape(theirs)}\.{block}\.{old}\.(.*)', rf'{ours}.{new}.\1') for old, new in MBCONV]
    return depths, rules


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """The number of modules in a list of this name."""
    place = prefix.count('.') + 1
    return len({key.split('.')[place] for key in state if key.startswith(f'{prefix}.')})


@IMPORTERS.register_module(name='unitok')
class UniTokImporter(TokenizerImporter):
    """UniToks, without their text tower."""

    read = staticmethod(import_tokenizer)

    @staticmethod
    def save(model: Tokenizer, folder: Any, facts: Mapping[str, Any]) -> None:
        without = f'{facts["weights"]}, images only: without text tower, contrastive projection and logit scale'
        TokenizerImporter.save(model, folder, {**facts, 'weights': without})
