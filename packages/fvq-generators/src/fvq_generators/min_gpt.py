"""minGPT as VQGAN uses it (Esser et al., 2021): a GPT-2 over codes, of classes or unconditional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Codes, Grid
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes
from fvq_core.sampling_settings import setting

from .cached_generator import CachedGenerator
from .checks import check_rates, images_to_draw, layout_of
from .eval_mode import eval_mode
from .layers import CausalMask, Classes, GPTBlock, Linear, Unconditional
from .sampling import Sampler, uniforms
from .sliding_window import draw_in_windows

START = 0  # the code whose row stands for "no condition"


@GENERATORS.register_module()
class MinGPT(CachedGenerator):
    """A class, then codes, with learned positions. Classes share the table of the codes: class c is the row of code c.

    There is no class for none, and so no guidance. CompVis' model of ImageNet has depth 48, dim 1,536, 24 heads and 1.4 B
    parameters; the one that tables call VQGAN with 227 M parameters (18.65) has 24, 768 and 8 heads (MaskGIT's).

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or its description.
        dim: Channels D.
        depth: Blocks.
        heads: Heads of the attention.
        num_classes: Classes, at most as many as codes; None for an unconditional model.
        code_dropout: Share of the codes that training reads as random ones; the release calls the others `pkeep`.
        token_dropout: Dropout of condition and code tokens.
        attention_dropout: Dropout of the attention weights.
        residual_dropout: Dropout of the results of attention and feed-forward layer.
        positions: Rows of the table of positions, if more than the condition and all codes but the last.
        checkpointing, loss_rows: See `AutoregressiveGenerator`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    position_kinds = (Grid, CodeSequence)

    @dataclass(frozen=True)
    class Sampling(Sampler):  # pyrefly: ignore[bad-override]
        """How a code is chosen, and the size of the image: one larger than trained is drawn in windows."""

        rows: int = setting(0, 'rows of codes, for a larger image; 0: as trained', least=0)
        columns: int = setting(0, 'columns of codes, for a larger image; 0: as trained', least=0)

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int = 1536,
        depth: int = 48,
        heads: int = 24,
        num_classes: int | None = 1000,
        code_dropout: float = 0.0,
        token_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        residual_dropout: float = 0.0,
        positions: int | None = None,
        checkpointing: bool = False,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        check_sizes('MinGPT', dim=dim, depth=depth, heads=heads, num_classes=num_classes or 1)
        V = self.layout.vocab_size
        if num_classes is not None and num_classes > V:
            raise UserError(
                f'MinGPT: classes share the table of the codes, and {num_classes} do not fit {V}; use a larger codebook.'
            )
        check_rates('MinGPT', code_dropout=code_dropout)
        self.code_dropout, self.checkpointing, self.loss_rows = code_dropout, checkpointing, loss_rows
        self.condition = Unconditional() if num_classes is None else Classes(num_classes)
        self.code_embedding = nn.Embedding(V, dim)
        rows = self.sequence_length - 1 if positions is None else positions
        if rows < self.sequence_length - 1:
            raise UserError(
                f'MinGPT: {rows} positions do not hold {self.sequence_length - 1} tokens of {self.layout}; give a smaller grid.'
            )
        self.position_embedding = nn.Parameter(torch.zeros(rows, dim))
        self.token_dropout = nn.Dropout(token_dropout)
        self.blocks = nn.ModuleList(
            GPTBlock(dim, heads, nn.GELU(), attention_dropout, residual_dropout) for _ in range(depth)
        )
        self.kv_heads, self.head_dim = heads, dim // heads
        self.norm = nn.LayerNorm(dim)
        self.head = Linear(dim, V, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self._make_mask()

    def _make_mask(self) -> None:
        self.mask = CausalMask(self.sequence_length, self.condition.tokens, self.device)

    def _apply(self, fn: Any, recurse: bool = True) -> MinGPT:
        super()._apply(fn, recurse)
        self._make_mask()
        return self

    def condition_tokens(self, cond: Tensor) -> Tensor:
        rows_B = torch.full_like(cond, START) if isinstance(self.condition, Unconditional) else cond
        return self.code_embedding(rows_B.long())[:, None] + self.position_embedding[:1]

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        x_BLD, start = self.code_embedding(indices_BL), self.condition.tokens + first
        if isinstance(start, int):
            return x_BLD + self.position_embedding[start : start + indices_BL.shape[1]]
        return x_BLD + self.position_embedding[start]

    def inputs(self, indices_BL: Tensor) -> Tensor:
        if self.training and self.code_dropout:
            kept_BL = torch.bernoulli(torch.full(indices_BL.shape, 1 - self.code_dropout, device=indices_BL.device))
            indices_BL = torch.where(kept_BL > 0, indices_BL, torch.randint_like(indices_BL, self.layout.vocab_size))
        return indices_BL[:, :-1]

    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        **options: Any,
    ) -> Codes:
        """See `CachedGenerator.sample`; with `rows` or `columns` beyond the layout's, codes of that larger grid."""
        size = self.layout.positions
        rows, columns = (options.get(name, 0) for name in ('rows', 'columns'))
        self.Sampling.of({'rows': rows, 'columns': columns})
        if not rows and not columns:
            return super().sample(cond, rng=rng, seeds=seeds, **options)
        if not isinstance(size, Grid):
            raise UserError(f'MinGPT: rows and columns belong to a Grid, this model has {self.layout}; leave them out.')
        grid = Grid(rows or size.height, columns or size.width)
        if grid == size:
            return super().sample(cond, rng=rng, seeds=seeds, **options)
        if grid.height < size.height or grid.width < size.width:
            raise UserError(
                f'MinGPT: images are at least as large as trained, {size.height} x {size.width} codes; got {grid.height} x '
                f'{grid.width}.'
            )
        for name in ('given', 'keep_BL', 'compile'):
            value = options.pop(name, None)
            if value is not None and value is not False:
                raise UserError(f'MinGPT: {name} goes with the trained size; leave it out, or rows and columns.')
        return self._sample_large(cond, grid, rng, seeds, self.Sampling.of(options))

    def _sample_large(
        self, cond: Tensor, grid: Grid, rng: torch.Generator | None, seeds: Sequence[int] | None, sampling: Sampling
    ) -> Codes:
        cond, seeds = images_to_draw(self, cond, rng, seeds)
        drawn_BL = uniforms(seeds, grid.length).to(self.device)
        with eval_mode(self):
            codes_BL = draw_in_windows(self, cond, grid, drawn_BL, sampling.part(Sampler))
        return Codes(codes_BL, CodeLayout(grid, self.layout.vocab_size))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes; dropout and all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        num_classes = None if cfg.get('num_classes', 1000) is None else 10
        return dict(layout=layout, dim=64, depth=2, heads=2, num_classes=num_classes, positions=None)
