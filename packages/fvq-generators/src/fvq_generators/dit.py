"""DiT (Peebles and Xie, 2023): a transformer over patches of latents, modulated by time and class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from fvq_core.codes import LatentLayout
from fvq_core.errors import UserError
from fvq_core.ops.sincos_positions import grid_positions
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .checks import check_rates
from .latent_diffusion import LatentDiffusion
from .layers import (
    MLP,
    AdaLayerNorm,
    AdaLNBlock,
    BidirectionalAttention,
    ClassEmbedding,
    Modulation,
    TimeEmbedding,
    init_xavier,
)
from .patches import Patches

EPS = 1e-6


@GENERATORS.register_module()
class DiT(LatentDiffusion):
    """Blocks whose norms a time and a class modulate (adaLN-zero): each starts as the identity.

    The published sizes (depth x dim, heads): S 12 x 384, 6; B 12 x 768, 12; L 24 x 1024, 16; XL 28 x 1152, 16.

    Args:
        layout: `LatentLayout` of a `Grid`, or its description.
        patch_size: Side of a patch, in positions of the latent.
        dim: Channels D, a multiple of 4.
        depth: Blocks.
        heads: Heads of the attention.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance.
        objective, schedule, steps, learned_variance: See `LatentDiffusion`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    def __init__(
        self,
        layout: LatentLayout | Mapping[str, Any],
        patch_size: int = 2,
        dim: int = 1152,
        depth: int = 28,
        heads: int = 16,
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        objective: Literal['diffusion', 'flow'] = 'diffusion',
        schedule: str = 'linear',
        steps: int = 1000,
        learned_variance: bool = True,
    ) -> None:
        super().__init__(layout, objective, schedule, steps, learned_variance)
        check_sizes('DiT', dim=dim, depth=depth, heads=heads, num_classes=num_classes)
        check_rates('DiT', cond_dropout=cond_dropout)
        self.patching = Patches('DiT', self.layout, patch_size)
        if dim % 4 or dim % heads:
            raise UserError(f'DiT: dim is a multiple of 4 and of the {heads} heads, got {dim}.')
        self.patches = nn.Conv2d(self.layout.channels, dim, patch_size, patch_size)
        self.time = TimeEmbedding(dim)
        self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        self.blocks = nn.ModuleList(
            AdaLNBlock(
                BidirectionalAttention(dim, heads), MLP(dim, 4 * dim), plain_norm(dim), plain_norm(dim), Modulation(dim)
            )
            for _ in range(depth)
        )
        self.norm = AdaLayerNorm(plain_norm(dim), Modulation(dim, 2))
        self.head = nn.Linear(dim, patch_size**2 * self.out_channels)
        start_as_identity(self, self.head)
        self._make_tables()

    def _make_tables(self) -> None:
        """Constants, on the device of the weights. They are not buffers: a model in bfloat16 keeps them in float32."""
        weight = self.patches.weight
        self.positions_LD = grid_positions(*self.patching.grid, weight.shape[0], weight.device)

    def _apply(self, fn: Any, recurse: bool = True) -> DiT:
        super()._apply(fn, recurse)
        self._make_tables()
        return self

    def network(self, x_BDHW: Tensor, t_B: Tensor, labels_B: Tensor, *given: Tensor) -> Tensor:
        """See `LatentDiffusion.network`."""
        x_BLD = self.patches(x_BDHW.to(self.patches.weight.dtype)).flatten(2).transpose(1, 2)
        x_BLD = x_BLD + self.positions_LD.type_as(x_BLD)
        cond_B1D = self.time(t_B)[:, None] + self.condition(labels_B)
        for block in self.blocks:
            x_BLD = block(x_BLD, cond_B1D)
        return self.patching.join_innermost(self.head(self.norm(x_BLD, cond_B1D)))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 32 channels; latents of 8x8 positions and 4 channels, and 20 steps of the process."""
        layout = dict(type='Grid', height=8, width=8, channels=4)
        return dict(layout=layout, dim=32, depth=2, heads=2, steps=20)


def plain_norm(dim: int) -> nn.LayerNorm:
    """A LayerNorm without weights."""
    return nn.LayerNorm(dim, EPS, elementwise_affine=False)


def start_as_identity(model: LatentDiffusion, head: nn.Linear) -> None:
    """Initialize as DiT: modulations and the head are 0, so that blocks pass on what they get, and the output is 0."""

    def start(part: nn.Module) -> None:
        init_xavier(part)
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)

    model.apply(start)
    for module in model.modules():  # these are Linear too, inside
        if isinstance(module, TimeEmbedding):
            nn.init.normal_(module.inner.weight, std=0.02)
            nn.init.normal_(module.outer.weight, std=0.02)
        elif isinstance(module, Modulation):
            nn.init.zeros_(module.linear.weight)
    nn.init.zeros_(head.weight)
