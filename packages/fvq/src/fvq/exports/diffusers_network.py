"""Which networks `VQModel` and `AutoencoderKL` of diffusers are, and the arguments that make them."""

from __future__ import annotations

from typing import Any

from fvq_core.autoencoder import Autoencoder
from fvq_core.autoencoders import KLAutoencoder, MoVQDecoder, VQGANDecoder, VQGANEncoder
from fvq_core.errors import UserError
from fvq_core.registry import describe
from fvq_core.tokenizer import Tokenizer

SHARED = ('ch', 'ch_mult', 'num_res_blocks', 'norm_groups')


def refuse(reason: str) -> UserError:
    return UserError(f"diffusers' format cannot hold it: {reason}.")


def network_arguments(autoencoder: Autoencoder) -> dict[str, Any]:
    """The arguments of both that describe encoder and decoder.

    Raises:
        UserError: No arguments give this network, and why.
    """
    config = describe(autoencoder, complete=True)
    encoder, decoder = config['encoder'], config['decoder']
    check_kinds(autoencoder)
    for name in SHARED:
        if list_of(encoder[name]) != list_of(decoder[name]):
            raise refuse(
                f'{name} is {encoder[name]} in the encoder, {decoder[name]} in the decoder, and there one for both'
            )
    blocks = set(list_of(encoder['num_res_blocks']))
    if len(blocks) != 1:
        raise refuse(f'levels have {list_of(encoder["num_res_blocks"])} residual blocks, and there all have as many')
    if decoder['extra_blocks'] != 1:
        raise refuse(
            f"the decoder's levels have {decoder['extra_blocks']} more blocks than the encoder's, and there 1 more"
        )
    if encoder['ch_mult'][0] != 1:
        raise refuse(
            f'ch_mult begins with {encoder["ch_mult"][0]}, and there the first level has as many channels as conv_in'
        )
    if config['quant_kernel'] not in (0, 1):
        raise refuse(f'quant_kernel is {config["quant_kernel"]}, and its convolutions around the codes are 1x1')
    middle = encoder['attention'] is not False
    if middle != (decoder['attention'] is not False):
        raise refuse('only one of encoder and decoder has attention in the middle')
    down, up = (attentive(half['attention'], len(encoder['ch_mult'])) for half in (encoder, decoder))
    return dict(
        in_channels=encoder['in_channels'],
        out_channels=decoder['out_channels'],
        block_out_channels=[encoder['ch'] * multiple for multiple in encoder['ch_mult']],
        layers_per_block=blocks.pop(),
        down_block_types=['AttnDownEncoderBlock2D' if has else 'DownEncoderBlock2D' for has in down],
        up_block_types=['AttnUpDecoderBlock2D' if has else 'UpDecoderBlock2D' for has in reversed(up)],
        norm_num_groups=encoder['norm_groups'],
        mid_block_add_attention=middle,
        latent_channels=decoder['z_channels'],
    )


def check_kinds(autoencoder: Autoencoder) -> None:
    """Raise unless all three are of a kind that diffusers has; a subclass may compute something else."""
    if type(autoencoder) not in (Tokenizer, KLAutoencoder):
        raise refuse(f'it has no {type(autoencoder).__name__}')
    decoders = (VQGANDecoder,) if type(autoencoder) is KLAutoencoder else (VQGANDecoder, MoVQDecoder)
    for part, known in ((autoencoder.encoder, (VQGANEncoder,)), (autoencoder.decoder, decoders)):
        if type(part) not in known:
            names = ' and '.join(each.__name__ for each in known)
            raise refuse(f"its networks are those of VQGAN ({names}), not {type(part).__name__}'s")


def list_of(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list | tuple) else [value]


def attentive(attention: Any, levels: int) -> list[bool]:
    """Whether each level, finest first, has attention."""
    if isinstance(attention, bool):
        return [attention and level == levels - 1 for level in range(levels)]
    return [level in attention for level in range(levels)]
