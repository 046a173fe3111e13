"""The second stage of ViT-VQGAN (Yu et al., 2022), as its unofficial code has it: token shift and squared ReLU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Grid
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .cached_generator import CachedGenerator
from .checks import layout_of
from .layers import CausalMask, ConditionEmbedding, GPTBlock, Linear, SquaredReLU
from .sampling import Sampler


@GENERATORS.register_module()
class ViTVQTransformer(CachedGenerator):
    """A class, then codes, with learned positions; each block mixes a token with the one before it.

    The cache keeps that token, so that sampling draws from the model that was trained; that of the release forgets it. There is
    no class for none, and so no guidance. The paper's model (36 x 2048, 1.7 B parameters) was never released.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or its description.
        dim: Channels D.
        depth: Blocks.
        heads: Heads of the attention.
        num_classes: Classes, or values of each number of a condition.
        condition_tokens: Numbers of a condition; with more than one, conditions are (B, T), and their tokens see each other.
        dropout: Of tokens, attention weights and results of branches; the release has none, the paper 0.1.
        attention_bias, ffn_bias: Whether their linear maps have biases.
        checkpointing, loss_rows: See `AutoregressiveGenerator`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    position_kinds = (Grid, CodeSequence)

    @dataclass(frozen=True)
    class Sampling(Sampler):  # pyrefly: ignore[bad-override]
        """How a code is chosen from its logits."""

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int = 2048,
        depth: int = 36,
        heads: int = 32,
        num_classes: int = 1000,
        condition_tokens: int = 1,
        dropout: float = 0.0,
        attention_bias: bool = True,
        ffn_bias: bool = True,
        checkpointing: bool = False,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        sizes = dict(dim=dim, depth=depth, heads=heads, num_classes=num_classes, condition_tokens=condition_tokens)
        check_sizes('ViTVQTransformer', **sizes)
        self.checkpointing, self.loss_rows = checkpointing, loss_rows
        V = self.layout.vocab_size
        self.condition = ConditionEmbedding(num_classes, dim, condition_tokens)
        self.code_embedding = nn.Embedding(V, dim)
        self.condition_position_embedding = nn.Parameter(torch.zeros(condition_tokens, dim))
        self.position_embedding = nn.Parameter(torch.zeros(self.layout.length, dim))
        self.token_dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            GPTBlock(dim, heads, SquaredReLU(), dropout, dropout, True, attention_bias, ffn_bias) for _ in range(depth)
        )
        self.kv_heads, self.head_dim, self.kept = heads, dim // heads, (depth, dim)
        self.norm = nn.LayerNorm(dim)
        self.head = Linear(dim, V, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self._make_mask()

    def _make_mask(self) -> None:
        self.mask = CausalMask(self.sequence_length, self.condition.tokens, self.device, open_prefix=True)

    def _apply(self, fn: Any, recurse: bool = True) -> ViTVQTransformer:
        super()._apply(fn, recurse)
        self._make_mask()
        return self

    def condition_tokens(self, cond: Tensor) -> Tensor:
        return super().condition_tokens(cond) + self.condition_position_embedding

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        x_BLD = self.code_embedding(indices_BL)
        if isinstance(first, int):
            return x_BLD + self.position_embedding[first : first + indices_BL.shape[1]]
        return x_BLD + self.position_embedding[first]

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes; all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        return dict(layout=layout, dim=64, depth=2, heads=2)
