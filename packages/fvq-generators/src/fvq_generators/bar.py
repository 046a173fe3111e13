"""BAR (Yu et al., 2026, arXiv 2602.09024): codes one after the other, and the bits of each in a few masked steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Grid, Targets
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes
from fvq_core.sampling_settings import SamplingSettings, setting

from .cached_generator import CachedGenerator
from .checks import check_rates, codes_to_learn, layout_of
from .layers import CausalMask, ClassEmbedding, KVCache, Linear, Modulation, RMSNorm, TransformerBlock, positions_table
from .layers.masked_bit_head import MaskedBitHead
from .layers.swiglu import swiglu_width
from .sampling import Pick, RisingGuidance, SequenceGuidance, uniforms
from .small_tokenizer import small_tokenizer

MOST_STEPS = 8


@dataclass(frozen=True)
class MaskedBitSampling(RisingGuidance):
    """Guidance of the bits' logits, and how the bits of a code are drawn."""

    temperature: float = setting(
        1.0, 'noise on bits and on which come first, falling at each step; 0 for none', least=0
    )
    steps: int = setting(4, 'passes of the head for each code', least=1, most=MOST_STEPS)


@GENERATORS.register_module()
class BAR(CachedGenerator):
    """LlamaGen's transformer with a masked bit head: a code of K values costs log2 K binary choices, so that K may be 2^32.

    Bit c of a code is that of its index, the lowest first: channel c of LFQ, BSQ and of FSQ with two levels. The release has a
    transformer of its own; see docs/paper_notes.md.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence` with a power of two of codes, or its description.
        dim: Channels D.
        depth: Blocks.
        heads: Heads of the attention.
        head_width: Channels of the masked bit head.
        head_depth: Its blocks.
        hidden_multiple: The feed-forward width is two thirds of 4 D rounded up to a multiple of it.
        token_dropout, attention_dropout, residual_dropout, ffn_dropout, drop_path: See `LlamaGen`.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance.
        checkpointing: See `AutoregressiveGenerator`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    position_kinds = (Grid, CodeSequence)
    likelihood = False
    Sampling = MaskedBitSampling  # pyrefly: ignore[bad-override]

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        head_width: int = 2048,
        head_depth: int = 3,
        hidden_multiple: int = 256,
        token_dropout: float = 0.1,
        attention_dropout: float = 0.0,
        residual_dropout: float = 0.1,
        ffn_dropout: float = 0.1,
        drop_path: float = 0.0,
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        sizes = dict(dim=dim, depth=depth, heads=heads, head_width=head_width, head_depth=head_depth)
        check_sizes('BAR', **sizes, num_classes=num_classes, hidden_multiple=hidden_multiple)
        check_rates('BAR', drop_path=drop_path, cond_dropout=cond_dropout)
        V = self.layout.vocab_size
        if V < 2 or V.bit_count() != 1:
            raise UserError(f'BAR: predicts the bits of codes, whose number must be a power of 2, got {V}.')
        self.bits, self.checkpointing = V.bit_length() - 1, checkpointing
        each = math.ceil(dim / self.bits)
        self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        self.bit_embedding, self.bit_merge = nn.Embedding(2, each), Linear(each * self.bits, dim)
        self.token_dropout = nn.Dropout(token_dropout)
        width = swiglu_width(dim, hidden_multiple)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, heads, None, width, 1e-5, attention_dropout, residual_dropout, ffn_dropout, rate)
            for rate in torch.linspace(0, drop_path, depth, device='cpu').tolist()
        )
        self.kv_heads, self.head_dim = heads, dim // heads
        self.norm = RMSNorm(dim)
        self.head = Linear(dim, head_width)
        self.bit_head = MaskedBitHead(self.bits, head_width, head_depth)
        self._init_weights()
        self._make_tables()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Modulation):
                nn.init.zeros_(module.linear.weight)

    def _make_tables(self) -> None:
        """Constants, on the device of the weights. They are not buffers: a model in bfloat16 keeps its angles in float32."""
        self.rotations = positions_table(self.layout.positions, self.head_dim, self.condition.tokens, self.device)
        self.mask = CausalMask(self.sequence_length, self.condition.tokens, self.device)

    def _apply(self, fn: Any, recurse: bool = True) -> BAR:
        super()._apply(fn, recurse)
        self._make_tables()
        return self

    def bits_of(self, indices: Tensor) -> Tensor:
        """Codes to their bits, one dimension more."""
        return indices[..., None] >> torch.arange(self.bits, device=indices.device) & 1

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        return self.bit_merge(self.bit_embedding(self.bits_of(indices_BL)).flatten(2))

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:  # pyrefly: ignore[bad-override]
        """`cross_entropy` of a bit in nats, from the codes before and what is not masked of its own; no likelihood.

        Masks are drawn in eval mode too. The logits of a code are fewer than its channels, so they are not made in chunks.

        Raises:
            UserError: See `checks.codes_to_learn`.
        """
        indices_BL = codes_to_learn(self, targets, cond).indices_BL
        x_ND = self.features(indices_BL[:, :-1], cond).flatten(0, 1)
        return {'cross_entropy': self.bit_head.loss(self.bits_of(indices_BL.flatten()), self.head(x_ND))}

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
        return MaskedBitPick(self, sampling)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels and one of the head for 16 codes of 6 bits; dropout and all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        return dict(layout=layout, dim=64, depth=2, heads=2, head_width=48, head_depth=1, hidden_multiple=32)

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """A small tokenizer with these codes, for images of 64x64."""
        return small_tokenizer()


@dataclass(frozen=True)
class MaskedBitPick:
    """Draws the bits of a code from what `BAR` says of it."""

    model: BAR
    sampling: MaskedBitSampling

    def __call__(self, x_BC: Tensor, uniform_B2TS: Tensor) -> Tensor:
        """(B, W + 1), or (2 B, W + 1) with those without the condition behind, and random numbers, to codes (B,)."""
        model, given = self.model, self.sampling
        cond_BW, guided = x_BC[:, :-1].to(model.head.weight.dtype), len(x_BC) != len(uniform_B2TS)
        scale = x_BC[0, -1] if guided else None
        steps = min(given.steps, model.bits)
        bits_BS = model.bit_head.draw(cond_BW, uniform_B2TS, steps, given.temperature, scale)
        return (bits_BS << torch.arange(model.bits, device=bits_BS.device)).sum(1)
