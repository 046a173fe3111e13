"""KL autoencoders: latent diffusion's (kl-f16, Stable Diffusion's kl-f8), MAR's in the same keys, and diffusers'."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import KLAutoencoder
from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .taming import NOT_WEIGHTS
from .taming_autoencoder import import_autoencoder

SD_SCALE, MAR_SCALE = 0.18215, 0.2325
# Diffusers' names of the parts of attention, new and old, and latent diffusion's.
ATTENTION = dict(group_norm='norm', to_q='q', to_k='k', to_v='v', to_out='proj_out')
ATTENTION |= dict(query='q', key='k', value='v', proj_attn='proj_out')
ATTENTION_KEY = re.compile(rf'(.*\.attentions\.\d+\.)({"|".join(ATTENTION)})(?:\.0)?(\.weight|\.bias)')
RULES: Rules = (
    (r'((?:encoder|decoder)\.conv_(?:in|out)\..*)', r'\1'),
    (r'(encoder|decoder)\.conv_norm_out\.(.*)', r'\1.norm_out.\2'),
    (r'(encoder|decoder)\.mid_block\.resnets\.0\.(.*)', r'\1.mid.block_1.\2'),
    (r'(encoder|decoder)\.mid_block\.resnets\.1\.(.*)', r'\1.mid.block_2.\2'),
    (r'(encoder|decoder)\.mid_block\.attentions\.0\.(.*)', r'\1.mid.attn_1.\2'),
    (r'((?:post_)?quant_conv\..*)', r'\1'),
)


def import_autoencoder_kl(
    state: Mapping[str, Tensor], source: str, latent_scale: float | None = None, latent_shift: float | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our KL autoencoder from latent diffusion's keys.

    Args:
        source: Begins messages.
        latent_scale: What no file stores. By default that of Stable Diffusion for 4 channels at f = 8, else 1.
        latent_shift: Likewise; 0 by default.
    """
    quantize = next((key for key in state if key.startswith('quantize.')), None)
    if quantize is not None:
        raise LayoutError(f"{source}: it has codes ({quantize}); import it as a 'taming' checkpoint.")
    config, renamed = import_autoencoder(state, source, NOT_WEIGHTS)
    features, kernel = config['encoder']['z_channels'], config['quant_kernel']
    given = state['quant_conv.weight'].shape[0] if kernel else features
    D = state['post_quant_conv.weight'].shape[1] if kernel else config['decoder']['z_channels']
    if given not in (D, 2 * D) or features == D:
        raise UserError(
            f'{source}: {features} channels of the encoder lead to {given}, and {D} to the decoder; a KL autoencoder has '
            'a mean and a log variance for each of the decoder, so twice as many.'
        )
    f = 2 ** (len(config['encoder']['ch_mult']) - 1)
    scale = latent_scale if latent_scale is not None else SD_SCALE if (f, D) == (8, 4) else 1.0
    config.update(latent_channels=D, latent_scale=scale, latent_shift=latent_shift or 0.0)
    if given == D:  # MAR's use_variational=False: the log variance is 1 everywhere
        config['log_variance'] = 1.0
    return dict(type=KLAutoencoder, **config), renamed


def read_latent_diffusion(
    state: Mapping[str, Tensor], latent_scale: float | None = None, latent_shift: float | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """See `import_autoencoder_kl`."""
    return import_autoencoder_kl(state, 'latent diffusion', latent_scale, latent_shift)


def read_mar(
    state: Mapping[str, Tensor], latent_scale: float = MAR_SCALE, latent_shift: float | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """See `import_autoencoder_kl`."""
    return import_autoencoder_kl(state, 'MAR', latent_scale, latent_shift)


def read_diffusers(
    state: Mapping[str, Tensor],
    latent_scale: float | None = None,
    latent_shift: float | None = None,
    norm_groups: int = 32,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """See `import_autoencoder_kl`; the numbers are those of the `config.json` beside the file.

    Args:
        latent_scale: `scaling_factor`: 0.13025 for SDXL, 1.5305 for SD3, 0.3611 for FLUX.1.
        latent_shift: `shift_factor`: 0.0609 for SD3, 0.1159 for FLUX.1.
        norm_groups: `norm_num_groups`.
    """
    if 'encoder.conv_norm_out.weight' not in state or 'decoder.up_blocks.0.resnets.0.conv1.weight' not in state:
        raise LayoutError(
            'diffusers: not its AutoencoderKL: no encoder.conv_norm_out.weight or decoder.up_blocks.0.resnets.0.conv1.weight.'
        )
    levels = len({key.split('.')[2] for key in state if key.startswith('decoder.up_blocks.')})
    config, renamed = import_autoencoder_kl(rename_diffusers(state, levels), 'diffusers', latent_scale, latent_shift)
    for half in ('encoder', 'decoder'):
        config[half]['norm_groups'] = norm_groups
    return config, renamed


def rename_diffusers(state: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    """A state dict in diffusers' keys, new or old, in latent diffusion's; attention's linear maps become 1x1 convolutions."""
    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        part = ATTENTION_KEY.fullmatch(key)
        if part:
            key = part[1] + ATTENTION[part[2]] + part[3]
            value = value[..., None, None] if value.dim() == 2 else value
        plain[key.replace('.conv_shortcut.', '.nin_shortcut.')] = value
    return rename(plain, diffusers_rules(levels), 'diffusers')


def diffusers_rules(levels: int) -> Rules:
    """Every rule. The decoder's levels are counted in the order they run, in latent diffusion from the image."""
    rules = [*RULES]
    for level in range(levels):
        for theirs, ours, resample in (
            (f'encoder.down_blocks.{level}', f'encoder.down.{level}', 'down'),
            (f'decoder.up_blocks.{level}', f'decoder.up.{levels - 1 - level}', 'up'),
        ):
            escaped = re.escape(theirs)
            rules += [
                (rf'{escaped}\.resnets\.(.*)', rf'{ours}.block.\1'),
                (rf'{escaped}\.attentions\.(.*)', rf'{ours}.attn.\1'),
                (rf'{escaped}\.{resample}samplers\.0\.(.*)', rf'{ours}.{resample}sample.\1'),
            ]
    return rules


class KLImporter(TokenizerImporter):
    """A layout of KL autoencoders."""

    @staticmethod
    def summary(model: Any) -> str:
        D, scale, shift = model.latent_channels, model.latent_scale, model.latent_shift
        return f'{type(model).__name__} with latents of {D} channels, scale {scale} and shift {shift}'


@IMPORTERS.register_module(name='ldm-kl')
class LatentDiffusionKLImporter(KLImporter):
    """Latent diffusion's, also inside a checkpoint of Stable Diffusion."""

    read = staticmethod(read_latent_diffusion)


@IMPORTERS.register_module(name='mar-kl')
class MARKLImporter(KLImporter):
    """MAR's."""

    read = staticmethod(read_mar)


@IMPORTERS.register_module(name='diffusers-kl')
class DiffusersKLImporter(KLImporter):
    """Diffusers' `AutoencoderKL`."""

    read = staticmethod(read_diffusers)
