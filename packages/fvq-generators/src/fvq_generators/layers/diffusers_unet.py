"""U-Nets of the library diffusers, which is imported when the first one is built."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from fvq_core.errors import UserError, nearest_hint

UNETS = ('UNet2DModel', 'UNet2DConditionModel')
OURS = ('in_channels', 'out_channels', 'sample_size', 'class_embed_type', 'num_class_embeds')  # follow from the layout


class DiffusersUNet(nn.Module):
    """`UNet2DModel` or `UNet2DConditionModel` of diffusers, told of a class by a vector that is made outside.

    The first adds the vector to that of the time (ADM), the second attends to it as one token (latent diffusion). The last
    map of each residual and attention block, and of all, begins at 0, as in both releases.

    Args:
        kind: Which of the two.
        arguments: Those of its constructor, as diffusers documents them, without `OURS`.
        in_channels, out_channels: Channels of images in and out.
        checkpointing: Compute activations again in the backward pass.

    Attributes:
        cond_dim: Channels of the vector.

    Raises:
        UserError: diffusers is missing, or does not take the arguments.
    """

    def __init__(
        self, kind: str, arguments: Mapping[str, Any], in_channels: int, out_channels: int, checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.attends = kind == 'UNet2DConditionModel'
        self.unet = build_unet(kind, arguments, in_channels, out_channels)
        config = self.unet.config
        self.cond_dim = config.cross_attention_dim if self.attends else self.unet.time_embedding.linear_2.out_features
        if not isinstance(self.cond_dim, int):
            raise UserError(f'{kind}: cross_attention_dim is one number here, got {self.cond_dim!r}.')
        if checkpointing:
            self.unet.enable_gradient_checkpointing()
        for name, module in self.unet.named_modules():
            last = name.split('.')[-1] in ('conv2', 'conv_out', 'proj_out')
            if last or (name.endswith('to_out.0') and not self.attends):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """Its levels, on the way down and up, and what lies between."""
        middle = () if self.unet.mid_block is None else (self.unet.mid_block,)
        return (*self.unet.down_blocks, *middle, *self.unet.up_blocks)

    def forward(self, x_BCHW: Tensor, t_B: Tensor, cond_B1D: Tensor) -> Tensor:
        """Images (B, in_channels, H, W), times (B,) and vectors (B, 1, D) to (B, out_channels, H, W)."""
        x_BCHW = x_BCHW.to(self.unet.dtype)
        if not len(x_BCHW):  # attention of diffusers cannot
            return x_BCHW.new_zeros(0, self.unet.config.out_channels, *x_BCHW.shape[2:])
        if self.attends:
            return self.unet(x_BCHW, t_B, encoder_hidden_states=cond_B1D).sample
        return self.unet(x_BCHW, t_B, class_labels=cond_B1D[:, 0]).sample


def build_unet(kind: str, arguments: Mapping[str, Any], in_channels: int, out_channels: int) -> Any:
    """The model of diffusers, with weights as torch begins them; raises as `DiffusersUNet` says."""
    if kind not in UNETS:
        raise UserError(f"diffusers: unknown U-Net '{kind}'; {nearest_hint(kind, UNETS)}")
    if find_spec('diffusers') is None:
        raise UserError(f'{kind} needs diffusers, not installed here; pip install "fvq-generators[diffusers]".')
    import diffusers

    model: Any = getattr(diffusers, kind)
    known = [name for name in inspect.signature(model.__init__).parameters if name != 'self' and name not in OURS]
    for name in arguments:
        if name not in known:
            raise UserError(f"{kind}: unknown argument '{name}'; {nearest_hint(name, known)}")
    told = {} if kind == 'UNet2DConditionModel' else dict(class_embed_type='identity')
    try:
        return model(**arguments, **told, in_channels=in_channels, out_channels=out_channels)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f'{kind}: diffusers does not build it from these arguments: {error}') from error
