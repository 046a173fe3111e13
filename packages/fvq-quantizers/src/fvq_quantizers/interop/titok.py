"""TiTok and TA-TiTok (1d-tokenizer): codes or a KL autoencoder's latents, after either stage or of the single one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.autoencoders import KLAutoencoder, PatchHead, ProxyCodesHead, TiTokDecoder, TiTokEncoder
from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS, describe
from fvq_core.tokenizer import Tokenizer

from .kl import KLImporter
from .maskgit_vq import import_decoder

CODEBOOK, LOGITS, TEXT = 'quantize.embedding.weight', 'decoder.ffn.2.weight', 'decoder.text_guidance_proj.weight'
PIXEL_CODEBOOK, PIXEL_DECODER = 'pixel_quantize.embedding.weight', 'pixel_decoder.'
MARKERS = ('latent_tokens', 'encoder.latent_token_positional_embedding', 'decoder.mask_token')
HEAD_WIDTH = 64  # of attention, in every published size
BLOCK = {'ln_1': 'norm1', 'ln_2': 'norm2', 'attn.out_proj': 'attn.proj', 'mlp.c_fc': 'mlp.fc1', 'mlp.c_proj': 'mlp.fc2'}
RULES: Rules = (
    ('latent_tokens', 'encoder.latent_tokens'),
    (r'(encoder|decoder)\.class_embedding', r'\1.transformer.class_token'),
    (r'(encoder|decoder)\.positional_embedding', r'\1.transformer.positions'),
    (r'(encoder|decoder)\.latent_token_positional_embedding', r'\1.transformer.token_positions'),
    (r'(encoder|decoder)\.ln_pre\.(.*)', r'\1.transformer.norm_in.\2'),
    (r'(encoder|decoder)\.ln_post\.(.*)', r'\1.norm_out.\2'),
    (r'(encoder|decoder)\.transformer\.(\d+)\.attn\.in_proj_(.*)', r'\1.transformer.blocks.\2.attn.qkv.\3'),
    *(
        (rf'(encoder|decoder)\.transformer\.(\d+)\.{re.escape(theirs)}\.(.*)', rf'\1.transformer.blocks.\2.{ours}.\3')
        for theirs, ours in BLOCK.items()
    ),
    (r'(encoder\.patch_embed\..*|decoder\.mask_token)', r'\1'),
    (r'encoder\.conv_out\.(.*)', r'encoder.proj_out.\1'),
    (r'decoder\.decoder_embed\.(.*)', r'decoder.embed.\1'),
    (r'decoder\.text_guidance_proj\.(.*)', r'decoder.text_embed.\1'),
    (r'decoder\.text_guidance_positional_embedding', 'decoder.transformer.text_positions'),
    (r'decoder\.conv_out\.(.*)', r'decoder.head.conv_out.\1'),
    (re.escape(CODEBOOK), 'quantizer.embedding'),
)
LOGITS_RULE = (r'decoder\.ffn\.([02])\.(.*)', r'decoder.head.to_logits.\1.\2')
PIXELS_RULE = (r'decoder\.ffn\.0\.(.*)', r'decoder.head.to_pixels.\1')


def import_tokenizer(
    state: Mapping[str, Tensor],
    l2_norm: bool | None = None,
    heads: int | None = None,
    proxy: str | None = None,
    norm_groups: int = 32,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer, or of our KL autoencoder, from TiTok's.

    A file whose decoder predicts codes is of the published two stages, and has the untransposed sequence (`legacy`).

    Args:
        l2_norm: Whether codes are l2-normalized, which no file tells; by default those of the two stages are.
        heads: Attention heads, if not one for 64 channels.
        proxy: Folder of the saved tokenizer whose codes a file of stage 1 predicts: that file has no decoder of pixels.
        norm_groups: Groups of the GroupNorms of a decoder of pixels in the file.
    """
    missing = [key for key in MARKERS if key not in state]
    if missing:
        raise LayoutError(f'not TiTok: no {missing[0]}.')
    own = {key: value for key, value in state.items() if not key.startswith('pixel_')}
    two_stages, D = LOGITS in own, own['decoder.decoder_embed.weight'].shape[1]
    patch_embed = own['encoder.patch_embed.weight']
    if two_stages:
        head, pixels, patch_size = proxy_codes_head(state, proxy, norm_groups)
    else:
        channels = len(own['decoder.conv_out.weight'])
        head, pixels = dict(type=PatchHead, out_channels=channels), {}
        patch_size = math.isqrt(len(own['decoder.ffn.0.weight']) // channels)
    encoder = dict(
        type=TiTokEncoder,
        **sizes(own, 'encoder', patch_embed.shape[2], heads),
        z_channels=len(own['encoder.conv_out.weight']),
        legacy=two_stages,
        in_channels=patch_embed.shape[1],
    )
    decoder = dict(type=TiTokDecoder, **sizes(own, 'decoder', patch_size, heads), z_channels=D, head=head)
    if encoder['image_size'] != decoder['image_size']:
        taken, given = encoder['image_size'], decoder['image_size']
        raise UserError(f'TiTok: the encoder takes images of {taken} pixels a side, the decoder gives {given}.')
    if encoder['patch_size'] != patch_size:
        decoder['encoder_patch_size'] = encoder['patch_size']
    if TEXT in own:
        lengths = len(own['decoder.text_guidance_positional_embedding']), own[TEXT].shape[1]
        decoder.update(zip(('text_length', 'text_width'), lengths, strict=True))
    config: dict[str, Any] = dict(type=KLAutoencoder, encoder=encoder, decoder=decoder, quant_kernel=0)
    if CODEBOOK in own:
        normalized = two_stages if l2_norm is None else l2_norm
        quantizer = dict(type='VectorQuantizer', codebook_size=len(own[CODEBOOK]), code_dim=D)
        quantizer |= dict(normalize=dict(type='L2Normalize')) if normalized else {}
        config |= dict(type=Tokenizer, quantizer=quantizer)
    else:
        config |= dict(latent_channels=D)
    rules = (*RULES, LOGITS_RULE if two_stages else PIXELS_RULE)
    renamed = rename(own, rules, 'TiTok', drop=[r'quantize\.embed_prob'])  # usage, which only training needs
    return config, {key: in_our_shape(key, value) for key, value in renamed.items()} | pixels


def sizes(state: Mapping[str, Tensor], half: str, patch_size: int, heads: int | None) -> dict[str, Any]:
    """What a half's transformer and images are like."""
    patches, width = state[f'{half}.positional_embedding'].shape
    side = math.isqrt(patches - 1)
    if side**2 != patches - 1:
        raise UserError(
            f'TiTok: {patches - 1} patches in the {half} are no square; released files are of square images.'
        )
    if heads is None and width % HEAD_WIDTH:
        raise UserError(f'TiTok: a width of {width} does not tell the number of heads; give it with --heads.')
    blocks = {key.split('.')[2] for key in state if key.startswith(f'{half}.transformer.')}
    return dict(
        image_size=side * patch_size,
        patch_size=patch_size,
        width=width,
        depth=len(blocks),
        heads=heads or width // HEAD_WIDTH,
        tokens=len(state[f'{half}.latent_token_positional_embedding']),
    )


def proxy_codes_head(
    state: Mapping[str, Tensor], proxy: str | None, norm_groups: int
) -> tuple[dict[str, Any], dict[str, Tensor], int]:
    """Config of the head that predicts codes, its weights for pixels, and the side of a code's patch.

    Those weights are the file's after stage 2, else those of the tokenizer `proxy`.
    """
    K = len(state[LOGITS])
    if PIXEL_CODEBOOK in state:
        port = {key.removeprefix('pixel_'): value for key, value in state.items() if key.startswith(PIXEL_DECODER)}
        decoder, weights = import_decoder(port, norm_groups)
        codebook, patch_size, stage = state[PIXEL_CODEBOOK], 2 ** (len(decoder['ch_mult']) - 1), 2
    elif proxy is None:
        raise UserError(
            f'TiTok: a file of stage 1, which predicts {K} codes of another tokenizer and has no decoder of pixels; give that '
            "tokenizer's folder with --proxy (MaskGIT's, from `tools/convert.py maskgit-vq`)."
        )
    else:
        tokenizer = Autoencoder.from_pretrained(proxy)
        codebook, stage = tokenizer.require_quantizer('TiTok').codebook().detach(), 1
        decoder, patch_size = describe(tokenizer.decoder), tokenizer.downsample_factor
        weights = {f'decoder.{key}': value for key, value in tokenizer.decoder.state_dict().items()}
    if len(codebook) != K:
        raise UserError(f'TiTok: the decoder predicts {K} codes, the tokenizer of its pixels has {len(codebook)}.')
    head = dict(type=ProxyCodesHead, decoder=decoder, codebook_size=K, code_dim=codebook.shape[1], stage=stage)
    prefix = 'decoder.head.'
    return head, {f'{prefix}codebook': codebook} | {prefix + key: value for key, value in weights.items()}, patch_size


def in_our_shape(key: str, value: Tensor) -> Tensor:
    """Single tokens without leading axes of length 1, and a linear map in place of the encoder's 1x1 convolution."""
    if key.endswith(('.class_token', '.mask_token')):
        return value.reshape(value.shape[-1])
    return value.flatten(1) if key == 'encoder.proj_out.weight' else value


@IMPORTERS.register_module(name='titok')
class TiTokImporter(TokenizerImporter):
    """TiTok's and TA-TiTok's, with codes or with latents."""

    read = staticmethod(import_tokenizer)

    @staticmethod
    def summary(model: Any) -> str:
        decoder = model.decoder
        text = f', and text features (B, {decoder.text_length}, {decoder.text_width})' if decoder.text_length else ''
        kind: type[TokenizerImporter] = KLImporter if model.quantizer is None else TokenizerImporter
        return f'{kind.summary(model)}{text}'
