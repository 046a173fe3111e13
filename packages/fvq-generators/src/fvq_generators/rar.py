"""RAR (Yu et al., 2024): an autoregressive model that is trained in random orders which turn into reading order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Grid, Targets
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes
from fvq_core.sampling_settings import SamplingSettings, setting

from .cached_generator import CachedGenerator
from .checks import check_rates, codes_to_learn, layout_of
from .cross_entropy import chunked_cross_entropy
from .layers import MLP, AdaLayerNorm, AdaLNBlock, Attention, CausalMask, ClassEmbedding, KVCache, Linear, Modulation
from .orders import check_order
from .sampling import SCHEDULES, RisingGuidance, Sampler, SequenceGuidance

EPS = 1e-6


class RARBlock(AdaLNBlock):
    """An `AdaLNBlock` called like the other blocks of an autoregressive model, with the conditions behind."""

    def forward(self, x_BLD: Tensor, *attention: Any) -> Tensor:  # pyrefly: ignore[bad-override]
        """See `Attention`; the last argument are the conditions (B, L, D)."""
        return super().forward(x_BLD, attention[-1], *attention[:-1])


class StartAndClass(ClassEmbedding):
    """A start token, then the class."""

    tokens = 2


@dataclass(frozen=True)
class PowerCosine(RisingGuidance):
    """`1 + (scale - 1) (1 - cos(pi (i / L)^power)) / 2` for code i of L."""

    cfg_schedule: str = setting('cosine', 'how guidance rises along the image', choices=SCHEDULES)


@GENERATORS.register_module()
class RAR(CachedGenerator):
    """A start token, the class, then codes, each told its own position and that of the code to predict.

    The published sizes (depth x dim, width; 16 heads): B 24 x 768, 3,072; L 24 x 1024, 4,096; XL 32 x 1280, 5,120; XXL
    40 x 1408, 6,144. `RandomOrderHook` lets `random_share` fall while it trains. Sampling is in reading order.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or its description.
        dim: Channels D.
        depth: Blocks.
        heads: Heads of the attention.
        width: Hidden channels of the feed-forward layer; 4 D by default.
        dropout: Dropout of the results of attention and feed-forward layer.
        attention_dropout: Dropout of the attention weights.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance.
        checkpointing, loss_rows: See `AutoregressiveGenerator`.

    Attributes:
        random_share: Share of the images that training reads in a random order; the others are in reading order.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    position_kinds = (Grid, CodeSequence)
    norm: AdaLayerNorm  # pyrefly: ignore[bad-override]

    @dataclass(frozen=True)
    class Sampling(Sampler, PowerCosine):  # pyrefly: ignore[bad-override]
        """Guidance along a cosine of a power of the share that is drawn, and how a code is chosen."""

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int = 768,
        depth: int = 24,
        heads: int = 16,
        width: int | None = None,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        checkpointing: bool = False,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        check_sizes('RAR', dim=dim, depth=depth, heads=heads, num_classes=num_classes, width=width or 1)
        check_rates('RAR', cond_dropout=cond_dropout)
        self.checkpointing, self.loss_rows, self.random_share = checkpointing, loss_rows, 1.0
        V, L = self.layout.vocab_size, self.layout.length
        self.condition = StartAndClass(num_classes, dim, cond_dropout)
        self.start_D = nn.Parameter(torch.zeros(dim))
        self.code_embedding = nn.Embedding(V, dim)
        self.position_embedding = nn.Parameter(torch.empty(2 + L, dim))
        self.target_embedding = nn.Parameter(torch.empty(L, dim))
        self.place_embedding = nn.Parameter(torch.empty(2 + L, dim))
        self.token_dropout = nn.Identity()
        self.blocks = nn.ModuleList(
            RARBlock(
                Attention(dim, heads, None, attention_dropout, dropout, bias=True, qk_norm=EPS),
                MLP(dim, width or 4 * dim, dropout, 'none'),
                nn.LayerNorm(dim, EPS),
                nn.LayerNorm(dim, EPS),
                Modulation(dim),
            )
            for _ in range(depth)
        )
        self.kv_heads, self.head_dim, self.kept = heads, dim // heads, (1, dim)
        self.norm = AdaLayerNorm(nn.LayerNorm(dim, EPS, elementwise_affine=False), Modulation(dim, 2))
        self.head = Linear(dim, V)
        self._init_weights()
        self._make_mask()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for table in (self.position_embedding, self.target_embedding, self.place_embedding):
            nn.init.trunc_normal_(table, std=0.02)
        for module in self.modules():
            if isinstance(module, Modulation):
                nn.init.zeros_(module.linear.weight)

    def _make_mask(self) -> None:
        self.mask = CausalMask(self.sequence_length, self.condition.tokens, self.device)

    def _apply(self, fn: Any, recurse: bool = True) -> RAR:
        super()._apply(fn, recurse)
        self._make_mask()
        return self

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        number = first + torch.arange(indices_BL.shape[1], device=indices_BL.device)
        return self.placed(self.code_embedding(indices_BL), number, number + 1)

    def placed(self, x_BLD: Tensor, own_L: Tensor, next_L: Tensor) -> Tensor:
        """Codes with their positions and those of the next, (L,) or (B, L); L as the next position is none."""
        targets_TD = F.pad(self.target_embedding, (0, 0, 0, 1))
        return x_BLD + self.position_embedding[2 + own_L] + targets_TD[next_L]

    def first_tokens(self, class_B1D: Tensor, next_B1: Tensor) -> Tensor:
        """Start token and class, (B, 2, D), of sequences whose first codes are at these positions."""
        start_B1D = (self.start_D + self.position_embedding[:1]).expand(len(class_B1D), 1, -1)
        class_B1D = class_B1D + self.position_embedding[1] + self.target_embedding[next_B1]
        return torch.cat([start_B1D, class_B1D], dim=1)

    def features(  # pyrefly: ignore[bad-override]
        self, indices_BL: Tensor, cond: Tensor, order_BL: Tensor | None = None
    ) -> Tensor:
        """Start, class and codes through the transformer: what the head reads, (B, 2 + N, D).

        Args:
            indices_BL: The first N codes of each image, in the order in which they are predicted.
            cond: Classes (B,).
            order_BL: The position of each of all L codes in that order; reading order by default.
        """
        (B, N), L = indices_BL.shape, self.layout.length
        if order_BL is None:
            order_BL = torch.arange(L, device=self.device).expand(B, L)
        class_B1D = self.condition(cond)
        follows_BL = F.pad(order_BL[:, 1:], (0, 1), value=L)
        codes_BND = self.placed(self.code_embedding(indices_BL), order_BL[:, :N], follows_BL[:, :N])
        x_BLD = torch.cat([self.first_tokens(class_B1D, order_BL[:, :1]), codes_BND], dim=1)
        return self.transform(x_BLD, None, None, True, context=class_B1D + self.place_embedding[: 2 + N])

    def normalize(self, x_BLD: Tensor, cache: KVCache | None, context: Tensor | None) -> Tensor:
        assert context is not None
        return self.norm(x_BLD, context)

    def loss(  # pyrefly: ignore[bad-override]
        self, targets: Targets, cond: Tensor, order_BL: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`cross_entropy` of the codes in nats, each from those before it in an order.

        Args:
            targets, cond: See `AutoregressiveGenerator.loss`; classes only.
            order_BL: The position of each code in its order. By default a random order for `random_share` of the images in
                training, and reading order for the others.

        Raises:
            UserError: See `AutoregressiveGenerator.loss`; or an order that is not a permutation.
        """
        indices_BL = codes_to_learn(self, targets, cond).indices_BL
        if order_BL is not None:
            order_BL = check_order('RAR', order_BL, *indices_BL.shape)
        elif self.training and self.random_share > 0:
            drawn_BL = torch.rand(indices_BL.shape, device=indices_BL.device)
            in_order_B = torch.rand(len(indices_BL), device=indices_BL.device) >= self.random_share
            order_BL = drawn_BL.masked_fill(in_order_B[:, None], 0.0).argsort(dim=1, stable=True)
        ordered_BL = indices_BL if order_BL is None else indices_BL.gather(1, order_BL)
        x_ND = self.features(ordered_BL[:, :-1], cond, order_BL)[:, 1:].flatten(0, 1)
        weight, bias, rows = self.head.weight, self.head.bias, self.loss_rows
        value = chunked_cross_entropy(x_ND, weight, ordered_BL.flatten(), rows=rows, bias_V=bias)
        return {'cross_entropy': value}

    def prefill(
        self,
        cond: Tensor,
        cache: KVCache,
        visible_BT: Tensor | None = None,
        scale: float | Tensor | None = None,
        known_BL: Tensor | None = None,
    ) -> Tensor:
        class_B1D = self.condition(cond)
        cache.kept[0] = class_B1D[:, 0]
        x_BLD = self.first_tokens(class_B1D, torch.zeros_like(cond)[:, None])
        if known_BL is not None:
            x_BLD = torch.cat([x_BLD, self.embed(known_BL)], dim=1)
        return self._last_logits(x_BLD, cache, 0, visible_BT, scale)

    def extend(
        self,
        x_BLD: Tensor,
        cache: KVCache,
        position: int | Tensor,
        visible_BT: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        places_L = position + torch.arange(x_BLD.shape[1], device=x_BLD.device)
        context = cache.kept[0][:, None] + self.place_embedding[places_L]
        return super().extend(x_BLD, cache, position, visible_BT, context)

    def guidance_of(self, sampling: SamplingSettings) -> SequenceGuidance:
        return sampling.part(PowerCosine)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes; dropout and all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        return dict(layout=layout, dim=64, depth=2, heads=2, width=128)
