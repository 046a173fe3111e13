"""BAR (Yu et al., 2026, arXiv 2602.09024): codes one after the other, and the bits of each in a few masked steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes
from fvq_core.sampling_settings import SamplingSettings, setting

from .checks import check_rates, codes_to_learn
from .layers import KVCache, Linear, Modulation, RMSNorm, SwiGLU, positions_table
from .layers.masked_bit_head import EPS, MaskedBitHead, even_shares
from .layers.target_attention import TargetAttention
from .random_order import ConditionedBlock, RandomOrderGenerator
from .sampling import Pick, RisingGuidance, SequenceGuidance, uniforms
from .small_tokenizer import small_tokenizer

MOST_STEPS = 8


@dataclass(frozen=True)
class MaskedBitSampling(RisingGuidance):
    """Guidance of the bits' logits, and how the bits of a code are drawn."""

    temperature: float = setting(1.0, 'noise on the bits and on their order, falling at each step; 0: none', least=0)
    steps: int = setting(4, 'decoding steps of the head per code', least=1, most=MOST_STEPS)
    shares: str = setting('', 'bits to sample in each step, such as 2-2-5-7; empty: evenly over --steps')

    def shares_of(self, bits: int) -> list[int]:
        """Bits that are drawn at each step, of so many.

        Raises:
            UserError: Shares that are not whole numbers with that sum.
        """
        if not self.shares:
            return even_shares(bits, min(self.steps, bits))
        parts = self.shares.split('-')
        shares = [int(part) for part in parts if part.isdecimal() and int(part)]
        if len(shares) != len(parts) or len(shares) > MOST_STEPS or sum(shares) != bits:
            raise UserError(
                f'sampling: shares are up to {MOST_STEPS} whole numbers with hyphens between, {bits} together, got '
                f"'{self.shares}'."
            )
        return shares


@GENERATORS.register_module()
class BAR(RandomOrderGenerator):
    """A transformer over codes with a masked bit head: a code of K values costs log2 K binary choices, so that K may be 2^32.

    Like RAR it is told the position of the code to predict, also by half of its heads' rotary angles, and is trained in random
    orders at first. The published sizes (depth x dim, heads): B 24 x 768, 12; L 32 x 1280, 16. Bit c of a code is that of its
    index, the lowest first: channel c of LFQ, BSQ and of FSQ with two levels.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence` with a power of two of codes, or its description.
        dim: Channels D.
        depth: Blocks.
        heads: Heads of the attention, an even number.
        head_width: Channels of the masked bit head.
        head_depth: Its blocks.
        class_tokens: How often the class stands before the codes.
        dropout: Dropout of the results of attention and feed-forward layer; 0.2 of L.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance.
        checkpointing: See `AutoregressiveGenerator`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    likelihood = False
    start_has_target = True
    Sampling = MaskedBitSampling  # pyrefly: ignore[bad-override]
    rotations: Tensor  # pyrefly: ignore[bad-override]

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int = 768,
        depth: int = 24,
        heads: int = 12,
        head_width: int = 2048,
        head_depth: int = 3,
        class_tokens: int = 32,
        dropout: float = 0.0,
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        checkpointing: bool = False,
    ) -> None:
        sizes = dict(dim=dim, depth=depth, heads=heads, head_width=head_width, head_depth=head_depth)
        check_sizes('BAR', **sizes, num_classes=num_classes, class_tokens=class_tokens)
        check_rates('BAR', dropout=dropout, cond_dropout=cond_dropout)
        super().__init__(layout, dim, num_classes, cond_dropout, class_tokens)
        V = self.layout.vocab_size
        if V < 2 or V.bit_count() != 1:
            raise UserError(f'BAR: predicts the bits of codes, whose number must be a power of 2, got {V}.')
        self.bits, self.checkpointing = V.bit_length() - 1, checkpointing
        each = math.ceil(dim / self.bits)
        self.bit_embedding, self.bit_merge = nn.Embedding(2, each), Linear(each * self.bits, dim)
        self.blocks = nn.ModuleList(
            ConditionedBlock(
                TargetAttention(dim, heads, EPS, dropout),
                SwiGLU(dim, int(2 / 3 * 4 * dim), dropout, bias=True),
                RMSNorm(dim, EPS),
                RMSNorm(dim, EPS),
                Modulation(dim),
            )
            for _ in range(depth)
        )
        self.kv_heads, self.head_dim = heads, dim // heads
        self.norm = RMSNorm(dim, EPS)
        self.head = Linear(dim, head_width)
        self.bit_head = MaskedBitHead(self.bits, head_width, head_depth)
        self._init_weights()
        nn.init.trunc_normal_(self.start_D, std=0.02)
        self._make_tables()

    def _make_tables(self) -> None:
        """The mask, and the angles in reading order. They are not buffers: a model in bfloat16 keeps its angles in float32."""
        super()._make_tables()
        T, L = self.condition.tokens, self.layout.length
        table = F.pad(positions_table(self.layout.positions, self.head_dim, T, self.device), (0, 0, 0, 0, 0, 1))
        table[:T, :, 0] = table[-1, :, 0] = 1.0  # start, class, and a place behind the last code: not turned
        self.table = table
        order_1L = torch.arange(L, device=self.device)[None]
        self.rotations = self.rotations_in(order_1L, order_1L + 1, T + L)[0]

    def rotations_in(self, order_BL: Tensor, follows_BL: Tensor, length: int) -> Tensor:
        """Of each token's own position, and behind it of the code that it predicts, (B, length, head_dim / 2, 4)."""
        B, T = len(order_BL), self.condition.tokens
        first_BT = torch.arange(T, device=order_BL.device).expand(B, T)
        own_BT = torch.cat([first_BT, T + order_BL], 1)[:, :length]
        target_BT = torch.cat([(T + order_BL[:, :1]).expand(B, T), T + follows_BL], 1)[:, :length]
        return torch.cat([self.table[own_BT], self.table[target_BT]], dim=-1)

    def bits_of(self, indices: Tensor) -> Tensor:
        """Codes to their bits, one dimension more."""
        return indices[..., None] >> torch.arange(self.bits, device=indices.device) & 1

    def code_tokens(self, indices_BL: Tensor) -> Tensor:
        return self.bit_merge(self.bit_embedding(self.bits_of(indices_BL)).flatten(2))

    def loss(  # pyrefly: ignore[bad-override]
        self, targets: Targets, cond: Tensor, order_BL: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`cross_entropy` of a bit in nats, from the codes before and what is not masked of its own; no likelihood.

        Masks are drawn in eval mode too. The logits of a code are fewer than its channels, so they are not made in chunks.

        Args:
            targets, cond: See `AutoregressiveGenerator.loss`; classes only.
            order_BL: See `in_order`.

        Raises:
            UserError: See `checks.codes_to_learn` and `in_order`.
        """
        ordered_BL, order_BL = self.in_order(codes_to_learn(self, targets, cond).indices_BL, order_BL)
        x_BLD = self.features(ordered_BL[:, :-1], cond, order_BL)[:, self.condition.tokens - 1 :]
        bits_NS = self.bits_of(ordered_BL.flatten())
        return {'cross_entropy': self.bit_head.loss(bits_NS, self.head(x_BLD.flatten(0, 1)))}

    def _last_logits(
        self,
        x_BLD: Tensor,
        cache: KVCache,
        position: int | Tensor,
        visible_BT: Tensor | None,
        scale: float | Tensor | None,
        context: Tensor | None = None,
    ) -> Tensor:
        """What the bits of the next code are conditioned on, and behind it the scale of guidance, for `MaskedBitPick`."""
        x_BW = self.head(self.extend(x_BLD, cache, position, visible_BT)[:, -1]).float()
        scale_B1 = torch.ones_like(x_BW[:, :1]) * (1.0 if scale is None else scale)
        return torch.cat([x_BW, scale_B1], 1)

    def guidance_of(self, sampling: SamplingSettings) -> SequenceGuidance:
        return sampling.part(RisingGuidance)

    def uniforms(self, seeds: Sequence[int]) -> Tensor:
        sizes = (self.layout.length, 2, MOST_STEPS, self.bits)
        return uniforms(seeds, math.prod(sizes)).unflatten(1, sizes)

    def picker(self, sampling: SamplingSettings) -> Pick:
        assert isinstance(sampling, MaskedBitSampling)
        return MaskedBitPick(self, sampling, tuple(sampling.shares_of(self.bits)))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels and one of the head for 16 codes of 6 bits; dropout and all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        return dict(layout=layout, dim=64, depth=2, heads=2, head_width=48, head_depth=1, class_tokens=3)

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """A small tokenizer with these codes, for images of 64x64."""
        return small_tokenizer()


@dataclass(frozen=True)
class MaskedBitPick:
    """Draws the bits of a code from what `BAR` says of it."""

    model: BAR
    sampling: MaskedBitSampling
    shares: tuple[int, ...]

    def __call__(self, x_BC: Tensor, uniform_B2TS: Tensor) -> Tensor:
        """(B, W + 1), or (2 B, W + 1) with those without the condition behind, and random numbers, to codes (B,)."""
        model, given = self.model, self.sampling
        cond_BW, guided = x_BC[:, :-1].to(model.head.weight.dtype), len(x_BC) != len(uniform_B2TS)
        scale = x_BC[0, -1] if guided else None
        bits_BS = model.bit_head.draw(cond_BW, uniform_B2TS, self.shares, given.temperature, scale)
        return (bits_BS << torch.arange(model.bits, device=bits_BS.device)).sum(1)
