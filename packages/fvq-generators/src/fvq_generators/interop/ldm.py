"""Latent diffusion's released model of ImageNet's classes (`cin256-v2.ckpt`), with the U-Net alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError
from fvq_core.registry import IMPORTERS

from ..diffusion.noise_schedules import betas
from .generator_importer import GeneratorImporter, depth_of
from .openai_unet import UNetShape, check_head_width, our_unet

NETWORK, CLASSES, FIRST_STAGE = 'model.diffusion_model.', 'cond_stage_model.embedding.weight', 'first_stage_model.'
# Tables of the process, which follow from `betas`; its average of the weights has been read.
TABLES = (
    'alphas_cumprod',
    'alphas_cumprod_prev',
    'sqrt_alphas_cumprod',
    'sqrt_one_minus_alphas_cumprod',
    'log_one_minus_alphas_cumprod',
    'sqrt_recip_alphas_cumprod',
    'sqrt_recipm1_alphas_cumprod',
    'posterior_variance',
    'posterior_log_variance_clipped',
    'posterior_mean_coef1',
    'posterior_mean_coef2',
    'lvlb_weights',
    'logvar',
    'ddim_sigmas',
    'model_ema.decay',
    'model_ema.num_updates',
)
ATTENTION = ((r'((?:norm|proj_in|proj_out|transformer_blocks\.\d+)\..*)', r'\1'),)
SAMPLING = dict(cfg_scale=1.5, solver='ddim', eta=1.0, spacing='strided')  # of the published FID of 3.60


def import_ldm(
    state: Mapping[str, Tensor],
    grid: tuple[int, int] = (64, 64),
    heads: int | None = None,
    head_width: int | None = None,
    cond_dropout: float = 0.1,
    latent_scale: float = 1.0,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `UNetDiffusion` from a state dict of theirs; its autoencoder is another model.

    Args:
        state: The peer's state dict.
        grid: Rows and columns of a latent, which no file holds.
        heads: Heads of the attention, likewise; 1 by default, as in the release.
        head_width: In place of it, channels of a head, for a model with more heads in wider levels.
        cond_dropout: Share of the classes that its training dropped; 0 for a table without a row for none.
        latent_scale: Scale of the autoencoder's latents.

    Raises:
        UserError: Another layout of keys, another schedule of noise, or heads that do not fit.
    """
    network = {key.removeprefix(NETWORK): value for key, value in state.items() if key.startswith(NETWORK)}
    shape = UNetShape.of(network, 'latent diffusion')
    attention = next((key for key in network if key.endswith('attn2.to_k.weight')), None)
    if CLASSES not in state or attention is None:
        raise LayoutError(
            f'latent diffusion: no {CLASSES} or attn2.to_k.weight; only its models of classes can be read.'
        )
    for key in state:
        if not key.startswith((NETWORK, FIRST_STAGE)) and key not in (CLASSES, 'betas', *TABLES):
            raise UserError(
                f'latent diffusion: unknown key {key}; this file has another layout than the released checkpoints.'
            )
    widths = [width for width, has in zip(shape.widths, shape.attends, strict=True) if has]
    if heads is not None and head_width is not None:
        raise UserError('latent diffusion: --heads and --head-width say the same in two ways; give one of them.')
    heads = 1 if heads is None else heads
    if head_width is not None:
        check_head_width('latent diffusion', widths, head_width)
    elif heads < 1 or any(width % heads for width in widths):
        raise UserError(f'latent diffusion: {heads} heads do not divide {widths} channels; give a divisor (--heads).')
    steps = check_schedule(state.get('betas'))
    C, out = network['input_blocks.0.0.weight'].shape[1], len(network['out.2.weight'])
    transformer = attention.partition('transformer_blocks')[0] + 'transformer_blocks'
    rows = len(state[CLASSES])
    config = dict(
        type='UNetDiffusion',
        layout=dict(type='Grid', height=grid[0], width=grid[1], channels=C, scale=latent_scale),
        unet='UNet2DConditionModel',
        arguments=dict(
            shape.arguments(('DownBlock2D', 'UpBlock2D'), ('CrossAttnDownBlock2D', 'CrossAttnUpBlock2D')),
            # Which is how many heads there are in this class of diffusers, whatever its name says.
            attention_head_dim=heads if head_width is None else [width // head_width for width in shape.widths],
            transformer_layers_per_block=depth_of(network, transformer),
            cross_attention_dim=network[attention].shape[1],
        ),
        num_classes=rows - (cond_dropout > 0),
        cond_dropout=cond_dropout,
        schedule='sqrt_linear',
        steps=steps,
        learned_variance=out == 2 * C,
    )
    return config, {
        'condition.table.weight': state[CLASSES],
        **our_unet(network, shape, ATTENTION, 'latent diffusion'),
    }


def check_schedule(given: Tensor | None) -> int:
    """Steps of the process; raises if a file has other betas than the released models of classes."""
    if given is None:
        return 1000
    if not torch.allclose(given.double(), betas('sqrt_linear', len(given)), rtol=1e-5):
        raise UserError(
            f'latent diffusion: betas from {given[0]:g} to {given[-1]:g} are not those of its models of classes, whose '
            'square roots go evenly from 0.0015 to 0.0195.'
        )
    return len(given)


@IMPORTERS.register_module(name='ldm')
class LDMImporter(GeneratorImporter):
    """Latent diffusion's generators."""

    read = staticmethod(import_ldm)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID."""
        return SAMPLING
