"""RandAR (Pang et al., 2024): LlamaGen's transformer that is told which position comes next, and so draws in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Codes, Grid, Targets
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes
from fvq_core.sampling_settings import setting

from .autoregressive import AutoregressiveGenerator
from .checks import check_rates, codes_to_learn, images_to_draw, layout_of
from .cross_entropy import chunked_cross_entropy
from .decoding import StaticSteps, pad_rows
from .eval_mode import eval_mode
from .layers import CausalMask, ClassEmbedding, KVCache, Linear, RMSNorm, TransformerBlock, positions_table, rotate
from .layers.swiglu import swiglu_width
from .orders import ORDERS, check_order, draw_orders, kept_first
from .out_of_memory import memory_advice
from .parallel_decoding import draw_in_order, remaining_sizes, step_sizes
from .sampling import SCHEDULES, GuidanceSchedule, Pick, Sampler, uniforms

STEPS = 88  # over the 256 codes of the released models


@GENERATORS.register_module()
class RandAR(AutoregressiveGenerator):
    """A class, then for each position in a random order an instruction, which names the position, and its code.

    The published sizes (depth x dim, heads) are LlamaGen's: L 24 x 1024, 16; XL 36 x 1280, 20; XXL 48 x 1536, 24.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or its description.
        dim: Channels D.
        depth: Blocks.
        heads: Heads of the attention.
        hidden_multiple, hidden_factor: See `LlamaGen`.
        token_dropout: Dropout of code tokens.
        attention_dropout, residual_dropout, ffn_dropout, drop_path: See `LlamaGen`.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance.
        checkpointing, loss_rows: See `AutoregressiveGenerator`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    position_kinds = (Grid, CodeSequence)
    inpaints = True
    any_order = True
    likelihood = False  # of one order of many

    @dataclass(frozen=True)
    class Sampling(Sampler, GuidanceSchedule):
        """Guidance, by default rising with the share of the codes that are drawn; steps, and in which order."""

        cfg_schedule: str = setting('linear', 'schedule of the guidance scale over the image', choices=SCHEDULES)
        steps: int = setting(
            0,
            f'decoding steps per image; 0: {STEPS}, or one per code if fewer; -1: one per code',
            least=1,
            also=(0, -1),
        )
        order: str = setting('random', 'order in which codes are decoded', choices=ORDERS)

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int = 1024,
        depth: int = 24,
        heads: int = 16,
        hidden_multiple: int = 256,
        hidden_factor: float | None = None,
        token_dropout: float = 0.1,
        attention_dropout: float = 0.0,
        residual_dropout: float = 0.1,
        ffn_dropout: float = 0.1,
        drop_path: float = 0.0,
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        checkpointing: bool = False,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        check_sizes(
            'RandAR', dim=dim, depth=depth, heads=heads, num_classes=num_classes, hidden_multiple=hidden_multiple
        )
        check_rates('RandAR', drop_path=drop_path, cond_dropout=cond_dropout)
        self.checkpointing, self.loss_rows, self.heads = checkpointing, loss_rows, heads
        V, width = self.layout.vocab_size, swiglu_width(dim, hidden_multiple, hidden_factor)
        self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        self.code_embedding = nn.Embedding(V, dim)
        self.instruction_1D = nn.Parameter(torch.empty(1, dim))
        self.token_dropout = nn.Dropout(token_dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, heads, None, width, 1e-5, attention_dropout, residual_dropout, ffn_dropout, rate)
            for rate in torch.linspace(0, drop_path, depth, device='cpu').tolist()
        )
        self.norm = RMSNorm(dim)
        self.head = Linear(dim, V, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.normal_(self.instruction_1D, std=0.02)
        nn.init.zeros_(self.head.weight)
        self._make_tables()

    def _make_tables(self) -> None:
        """Constants, on the device of the weights. They are not buffers: a model in bfloat16 keeps its angles in float32."""
        head_dim = self.instruction_1D.shape[1] // self.heads
        self.rotations = positions_table(self.layout.positions, head_dim, self.condition.tokens, self.device)
        self.mask = CausalMask(self.condition.tokens + 2 * self.layout.length, self.condition.tokens, self.device)

    def _apply(self, fn: Any, recurse: bool = True) -> RandAR:
        super()._apply(fn, recurse)
        self._make_tables()
        return self

    def class_token(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """See `OrderedModel`."""
        assert self.rotations is not None
        return self.condition_tokens(cond), self.rotations[:1].expand(len(cond), 1, -1, -1)

    def instructions(self, order_BN: Tensor) -> tuple[Tensor, Tensor]:
        """See `OrderedModel`: one vector, turned by the angles of the position, as queries and keys are."""
        assert self.rotations is not None
        turns_BNP2 = self.rotations[order_BN + self.condition.tokens]
        x_BNHD = self.instruction_1D.view(1, 1, self.heads, -1).expand(*order_BN.shape, -1, -1)
        return rotate(x_BNHD, turns_BNP2).flatten(2), turns_BNP2

    def pairs(self, indices_BN: Tensor, order_BN: Tensor) -> tuple[Tensor, Tensor]:
        """See `OrderedModel`."""
        asked_BND, turns_BNP2 = self.instructions(order_BN)
        codes_BND = self.token_dropout(self.code_embedding(indices_BN))
        return torch.stack([asked_BND, codes_BND], dim=2).flatten(1, 2), turns_BNP2.repeat_interleave(2, dim=1)

    def read(self, x_BLD: Tensor, rotations_BLP2: Tensor, cache: KVCache, position: int | Tensor) -> Tensor:
        """See `OrderedModel`."""
        L = x_BLD.shape[1]
        if isinstance(position, int):
            cache.check_room(position, L)
            mask = self.mask.block(position, L) if position else None
        else:
            position = position + torch.arange(L, device=position.device)
            mask = self.mask.rows(position, cache.length)
        return self.transform(x_BLD, rotations_BLP2, mask, mask is None, cache, position)

    def new_cache(self, batch: int, device: torch.device | str | None = None) -> KVCache:
        """Empty memory for that many sequences of class, instructions and codes but the last, which nothing reads."""
        head_dim, length = self.instruction_1D.shape[1] // self.heads, 2 * self.layout.length
        return KVCache(
            len(self.blocks), batch, self.heads, length, head_dim, self.head.weight.dtype, device or self.device
        )

    def features(self, indices_BL: Tensor, cond: Tensor, order_BL: Tensor) -> Tensor:  # pyrefly: ignore[bad-override]
        """What the head reads at the instructions: (B, L, D), in the given order.

        Args:
            indices_BL: Codes in reading order.
            cond: Classes (B,).
            order_BL: The position of each code, in the order in which they are predicted.
        """
        x_B1D, rotations = self.class_token(cond)
        pairs_BLD, turns = self.pairs(indices_BL.gather(1, order_BL), order_BL)
        x_BLD = torch.cat([x_B1D, pairs_BLD], dim=1)[:, :-1]
        rotations = torch.cat([rotations, turns], dim=1)[:, :-1]
        return self.transform(x_BLD, rotations, None, True)[:, 1::2]

    def loss(  # pyrefly: ignore[bad-override]
        self, targets: Targets, cond: Tensor, order_BL: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`cross_entropy` of the codes in nats, each from those before it in an order.

        Args:
            targets, cond: See `AutoregressiveGenerator.loss`; classes only.
            order_BL: See `features`; by default a new random one for each image.

        Raises:
            UserError: See `AutoregressiveGenerator.loss`; or an order that is not a permutation.
        """
        indices_BL = codes_to_learn(self, targets, cond).indices_BL
        if order_BL is None:
            order_BL = torch.rand(indices_BL.shape, device=indices_BL.device).argsort(1)
        else:
            order_BL = check_order('RandAR', order_BL, *indices_BL.shape)
        x_ND = self.features(indices_BL, cond, order_BL).flatten(0, 1)
        targets_N = indices_BL.gather(1, order_BL).flatten()
        return {'cross_entropy': chunked_cross_entropy(x_ND, self.head.weight, targets_N, rows=self.loss_rows)}

    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        order_BL: Tensor | None = None,
        given: Codes | None = None,
        keep_BL: Tensor | None = None,
        compile: bool | str = False,
        pick: Pick | None = None,
        **settings: Any,
    ) -> Codes:
        """Draw codes for each condition; see `Generator.sample`.

        Args:
            cond: Classes (B,).
            rng, seeds: See `Generator.sample`.
            order_BL: The position of the code to draw at each number, (L,) or (B, L), in place of the setting `order`.
            given, keep_BL: See `Generator.check_given`. What is kept comes first in the order: all else is drawn from it.
            compile, pick: See `CachedGenerator.sample`. Steps of as many codes share a graph.
            settings: Fields of `Sampling`.

        Raises:
            UserError: See `CachedGenerator.sample`; or more steps than codes, or an order that is not a permutation.
        """
        sampling, (L, count) = self.Sampling.of(settings), (self.layout.length, len(cond))
        if sampling.steps > L:
            raise UserError(f'RandAR: {sampling.steps} steps for {L} codes; give at most {L}, or -1 for one at a time.')
        sampling = replace(sampling, steps=sampling.steps or min(STEPS, L))
        drop_rate = self.condition.drop_rate
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling.cfg_scale, drop_rate, given, keep_BL)
        drawn_BL = uniforms(seeds, 2 * L).to(self.device)
        if order_BL is None:
            order_BL = draw_orders(sampling.order, drawn_BL[:, L:])
        order_BL = check_order('RandAR', order_BL.to(self.device), count, L)
        codes_BL, groups = order_BL.clone(), [(0, torch.arange(count, device=self.device))]
        if given is not None and keep_BL is not None:
            order_BL, groups = kept_first(order_BL, keep_BL.to(self.device))
        per_image = self.new_cache(1, 'meta').nbytes * (1 + sampling.active)
        given_BL = order_BL if given is None else given.indices_BL.to(self.device)
        whole, steps = (cond, order_BL, given_BL, drawn_BL), self.compiled_steps(compile)
        with eval_mode(self), memory_advice(count, self.device, per_image, self.forget_steps):
            for known, rows in groups:  # images that keep as many codes, for a sample depends on no other
                if len(rows):
                    batch = len(rows) if steps is None else steps.batch_for(len(rows), 1 + sampling.active)
                    part = [pad_rows(each[rows], batch) for each in whole]
                    codes_BL[rows] = self._draw(part, known, sampling, pick, steps)[: len(rows)]
        return Codes(codes_BL, self.layout)

    def _draw(
        self, images: Sequence[Tensor], known: int, sampling: Sampling, pick: Pick | None, steps: StaticSteps | None
    ) -> Tensor:
        """Codes (B, L) of images with as many known: given their conditions, orders, given codes and random numbers."""
        cond, order_BL, given_BL, drawn_BL = images
        ordered_BL = draw_in_order(
            self,
            torch.cat([cond, self.condition.null(cond)]) if sampling.active else cond,
            order_BL=order_BL,
            sizes=remaining_sizes(step_sizes(self.layout.length, sampling.steps), known),
            uniforms_BL=drawn_BL[:, : self.layout.length],
            pick=pick or sampling.part(Sampler),
            guidance=sampling.part(GuidanceSchedule),
            known_BK=given_BL.gather(1, order_BL[:, :known]),
            steps=steps,
        )
        return torch.empty_like(ordered_BL).scatter_(1, order_BL, ordered_BL)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes; dropout and all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        return dict(layout=layout, dim=64, depth=2, heads=2, hidden_multiple=32)
