"""Generators that read codes in any order, each told its own position and that of the code to predict (RAR, BAR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Grid
from fvq_core.codes import Sequence as CodeSequence

from .cached_generator import CachedGenerator
from .checks import layout_of
from .layers import AdaLNBlock, CausalMask, ClassEmbedding, KVCache, Modulation
from .orders import check_order


class StartAndClass(ClassEmbedding):
    """A start token, then the class, possibly several times.

    Args:
        num_classes, dim, dropout: See `ClassEmbedding`.
        repeats: Tokens of the class.
    """

    def __init__(self, num_classes: int, dim: int, dropout: float = 0.1, repeats: int = 1) -> None:
        super().__init__(num_classes, dim, dropout)
        self.tokens = 1 + repeats


class ConditionedBlock(AdaLNBlock):
    """An `AdaLNBlock` called like the other blocks of an autoregressive model, with the conditions behind."""

    def forward(self, x_BLD: Tensor, *attention: Any) -> Tensor:  # pyrefly: ignore[bad-override]
        """See `Attention`; the last argument are the conditions (B, L, D)."""
        return super().forward(x_BLD, attention[-1], *attention[:-1])


class RandomOrderGenerator(CachedGenerator):
    """A start token, the class, then codes in an order; the blocks are modulated by the class and the place in the sequence.

    `RandomOrderHook` lets `random_share` fall while it trains. Sampling is in reading order.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or its description.
        dim: Channels D.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance.
        repeats: Tokens of the class.

    Attributes:
        start_has_target: Whether the start token is told the position of the first code, as the class is.
        random_share: Share of the images that training reads in a random order; the others are in reading order.
    """

    position_kinds = (Grid, CodeSequence)
    start_has_target: ClassVar[bool] = False

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int,
        num_classes: int,
        cond_dropout: float,
        repeats: int = 1,
    ) -> None:
        super().__init__()
        self.layout, self.random_share = layout_of(self, layout), 1.0
        self.condition = StartAndClass(num_classes, dim, cond_dropout, repeats)
        T, L = self.condition.tokens, self.layout.length
        self.start_D = nn.Parameter(torch.zeros(dim))
        self.position_embedding = nn.Parameter(torch.empty(T + L, dim))
        self.target_embedding = nn.Parameter(torch.empty(L, dim))
        self.place_embedding = nn.Parameter(torch.empty(T + L, dim))
        self.token_dropout, self.kept = nn.Identity(), (1, dim)

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

    def _make_tables(self) -> None:
        """Constants, on the device of the weights."""
        self.mask = CausalMask(self.sequence_length, self.condition.tokens, self.device)

    def _apply(self, fn: Any, recurse: bool = True) -> RandomOrderGenerator:
        super()._apply(fn, recurse)
        self._make_tables()
        return self

    def code_tokens(self, indices_BL: Tensor) -> Tensor:
        """Codes to tokens (B, L, D) without positions."""
        raise NotImplementedError

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        number = first + torch.arange(indices_BL.shape[1], device=indices_BL.device)
        return self.placed(self.code_tokens(indices_BL), number, number + 1)

    def placed(self, x_BLD: Tensor, own_L: Tensor, next_L: Tensor) -> Tensor:
        """Codes with their positions and those of the next, (L,) or (B, L); L as the next position is none."""
        targets_LD = F.pad(self.target_embedding, (0, 0, 0, 1))
        return x_BLD + self.position_embedding[self.condition.tokens + own_L] + targets_LD[next_L]

    def first_tokens(self, class_B1D: Tensor, next_B1: Tensor) -> Tensor:
        """Start token and class, (B, T, D), of sequences whose first codes are at these positions."""
        target_B1D = self.target_embedding[next_B1]
        start_B1D = (self.start_D + self.position_embedding[:1]).expand(len(class_B1D), 1, -1)
        if self.start_has_target:
            start_B1D = start_B1D + target_B1D
        classes_BRD = class_B1D + self.position_embedding[1 : self.condition.tokens] + target_B1D
        return torch.cat([start_B1D, classes_BRD], dim=1)

    def rotations_in(self, order_BL: Tensor, follows_BL: Tensor, length: int) -> Tensor | None:
        """Rotary tables of the first `length` tokens of sequences in these orders; None without rotary embeddings."""
        return None

    def features(  # pyrefly: ignore[bad-override]
        self, indices_BL: Tensor, cond: Tensor, order_BL: Tensor | None = None
    ) -> Tensor:
        """Start, class and codes through the transformer: what the head reads, (B, T + N, D).

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
        codes_BND = self.placed(self.code_tokens(indices_BL), order_BL[:, :N], follows_BL[:, :N])
        x_BLD = torch.cat([self.first_tokens(class_B1D, order_BL[:, :1]), codes_BND], dim=1)
        rotations = self.rotations_in(order_BL, follows_BL, x_BLD.shape[1])
        return self.transform(x_BLD, rotations, None, True, context=class_B1D + self.place_embedding[: x_BLD.shape[1]])

    def in_order(self, indices_BL: Tensor, order_BL: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Codes as they are predicted, and their order.

        Args:
            indices_BL: In reading order.
            order_BL: The position of each code in its order. By default a random order for `random_share` of the images in
                training, and reading order for the others.

        Raises:
            UserError: An order that is not a permutation.
        """
        if order_BL is not None:
            order_BL = check_order(type(self).__name__, order_BL, *indices_BL.shape)
        elif self.training and self.random_share > 0:
            drawn_BL = torch.rand(indices_BL.shape, device=indices_BL.device)
            in_order_B = torch.rand(len(indices_BL), device=indices_BL.device) >= self.random_share
            order_BL = drawn_BL.masked_fill(in_order_B[:, None], 0.0).argsort(dim=1, stable=True)
        return (indices_BL if order_BL is None else indices_BL.gather(1, order_BL)), order_BL

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
