"""Diffusion with a U-Net of diffusers: ADM (Dhariwal and Nichol, 2021) and class-conditional latent diffusion (Rombach et al.,
2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from fvq_core.codes import LatentLayout
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .checks import check_rates
from .latent_diffusion import LatentDiffusion
from .layers.class_embedding import ClassEmbedding
from .layers.diffusers_unet import DiffusersUNet


@GENERATORS.register_module()
class UNetDiffusion(LatentDiffusion):
    """A U-Net that takes the noise from latents, or from pixels if the layout is that of a `PixelAutoencoder`.

    The published sizes are `configs/_base_/models/adm.py` (553.8 M) and `ldm_4.py` (400.9 M and 0.5 M of classes).

    Args:
        layout: `LatentLayout` of a `Grid`, or its description; sides are multiples of 2 for each level but the first.
        unet, arguments: See `DiffusersUNet`; needs the extra `diffusers`.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance; ADM drops none.
        objective, schedule, steps, learned_variance, clip: See `LatentDiffusion`.
        checkpointing: See `DiffusersUNet`.

    Raises:
        UserError: A layout that it cannot model, diffusers is missing, or arguments that it does not take.
    """

    images = 1  # that the network sees side by side

    def __init__(
        self,
        layout: LatentLayout | Mapping[str, Any],
        unet: Literal['UNet2DModel', 'UNet2DConditionModel'] = 'UNet2DModel',
        arguments: Mapping[str, Any] | None = None,
        num_classes: int = 1000,
        cond_dropout: float = 0.0,
        objective: Literal['diffusion', 'flow'] = 'diffusion',
        schedule: str = 'linear',
        steps: int = 1000,
        learned_variance: bool = False,
        clip: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(layout, objective, schedule, steps, learned_variance, clip)
        check_sizes('UNetDiffusion', num_classes=num_classes)
        check_rates('UNetDiffusion', cond_dropout=cond_dropout)
        inputs = self.images * self.layout.channels
        self.unet = DiffusersUNet(unet, arguments or {}, inputs, self.out_channels, checkpointing)
        height, width = self.layout.positions.shape
        f = 2 ** (len(self.unet.unet.down_blocks) - 1)
        if height % f or width % f:
            raise UserError(
                f'UNetDiffusion: its levels need sides that {f} divides, got a layout of {height} x {width}.'
            )
        self.condition = ClassEmbedding(num_classes, self.unet.cond_dim, cond_dropout)
        self.blocks = self.unet.blocks

    def network(self, x_BDHW: Tensor, t_B: Tensor, labels_B: Tensor, *given: Tensor) -> Tensor:
        """See `LatentDiffusion.network`."""
        return self.unet(x_BDHW, t_B, self.condition(labels_B))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """The outer and the inner level with 16 channels, 20 steps; 64 x 64 pixels, also in place of latents."""
        layout = dict(type='Grid', height=64, width=64, channels=3)
        return dict(layout=layout, steps=20, arguments=small_arguments(dict(cfg.get('arguments') or {})))

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """Pixels as they are."""
        return dict(type='PixelAutoencoder')


def small_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of a U-Net of two levels with 16 channels each, of the same kind of blocks."""
    ends = {
        name: [arguments[name][0], arguments[name][-1]]
        for name in ('down_block_types', 'up_block_types')
        if name in arguments
    }
    groups = {name: 4 for name in ('norm_num_groups', 'attn_norm_num_groups') if arguments.get(name) is not None}
    small = dict(block_out_channels=[16, 16], layers_per_block=1, attention_head_dim=4, norm_num_groups=4)
    return {**arguments, **ends, **small, **groups}
