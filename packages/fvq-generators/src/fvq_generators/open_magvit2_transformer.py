"""Open-MAGVIT2's generator (Luo et al., 2024): large vocabularies in two parts, the second drawn after the first."""

from __future__ import annotations

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
from .cross_entropy import chunked_cross_entropy
from .layers import (
    CausalMask,
    ClassEmbedding,
    KVCache,
    Linear,
    RMSNorm,
    TransformerBlock,
    join_code,
    positions_table,
    split_code,
)
from .layers.swiglu import swiglu_width
from .sampling import COLDEST, Guidance, Pick, Sampler, SequenceGuidance, guide, uniforms
from .small_tokenizer import small_tokenizer


@dataclass(frozen=True)
class FactorizedSampling(Sampler, Guidance):
    """Guidance and temperature of each part of a code; the filters are the same for both."""

    second_cfg_scale: float = setting(
        0.0, 'guidance scale of the second sub-token; 0: that of the first', least=1, also=(0,)
    )
    second_temperature: float = setting(
        1.0, 'softmax temperature of the second sub-token; greedy if --temperature is 0', least=COLDEST
    )

    @property
    def scales(self) -> tuple[float, float]:
        """Guidance of both parts."""
        return self.cfg_scale, self.second_cfg_scale or self.cfg_scale


@GENERATORS.register_module()
class OpenMAGVIT2Transformer(CachedGenerator):
    """LlamaGen's transformer over the positions, and a shallow one within each that predicts its code in two parts.

    Code i has two parts of `factors` (F, G), i modulo F and i // F, see `layers.split_code`: for Open-MAGVIT2's 18 channels
    the signs of the first six, and those of the other twelve. The published sizes (depth + inner depth, dim, heads): B 24 + 2,
    1024, 16; L 36 + 3, 1280, 20; XL 48 + 4, 1536, 24.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or its description.
        factors: Values of the first and of the second part; their product is the vocabulary.
        dim: Channels D.
        depth: Blocks over the positions.
        inner_depth: Blocks within a position.
        heads: Heads of the attention.
        hidden_multiple: The feed-forward width is two thirds of 4 D rounded up to a multiple of it.
        token_dropout, attention_dropout, residual_dropout, ffn_dropout, drop_path: See `LlamaGen`.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops.
        checkpointing, loss_rows: See `AutoregressiveGenerator`; inner blocks are not checkpointed.

    Raises:
        UserError: A layout that it cannot model, factors of another vocabulary, or sizes that do not fit each other.
    """

    position_kinds = (Grid, CodeSequence)
    Sampling = FactorizedSampling  # pyrefly: ignore[bad-override]

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        factors: tuple[int, int] = (64, 4096),
        dim: int = 1024,
        depth: int = 24,
        inner_depth: int = 2,
        heads: int = 16,
        hidden_multiple: int = 256,
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
        name = 'OpenMAGVIT2Transformer'
        self.layout = layout_of(self, layout)
        sizes = dict(dim=dim, depth=depth, inner_depth=inner_depth, heads=heads, num_classes=num_classes)
        check_sizes(name, **sizes, hidden_multiple=hidden_multiple)
        V = self.layout.vocab_size
        if len(factors) != 2 or min(factors) < 1 or factors[0] * factors[1] != V:
            raise UserError(
                f'{name}: factors are two numbers whose product is the vocabulary {V}, got {tuple(factors)}.'
            )
        check_rates(name, drop_path=drop_path, cond_dropout=cond_dropout)
        self.factors = (int(factors[0]), int(factors[1]))
        self.checkpointing, self.loss_rows = checkpointing, loss_rows
        self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        self.first_embedding, self.second_embedding = (nn.Embedding(size, dim) for size in self.factors)
        self.token_dropout = nn.Dropout(token_dropout)
        width = swiglu_width(dim, hidden_multiple)
        self.blocks, self.inner_blocks = (
            nn.ModuleList(
                TransformerBlock(dim, heads, None, width, 1e-5, attention_dropout, residual_dropout, ffn_dropout, rate)
                for rate in torch.linspace(0, drop_path, blocks, device='cpu').tolist()
            )
            for blocks in (depth, inner_depth)
        )
        self.kv_heads, self.head_dim = heads, dim // heads
        self.norm = RMSNorm(dim)
        self.head, self.second_head = (Linear(dim, size, bias=False) for size in self.factors)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.second_head.weight)
        self._make_tables()

    def _make_tables(self) -> None:
        """Constants, on the device of the weights. They are not buffers: a model in bfloat16 keeps its angles in float32."""
        self.rotations = positions_table(self.layout.positions, self.head_dim, self.condition.tokens, self.device)
        self.mask = CausalMask(self.sequence_length, self.condition.tokens, self.device)

    def _apply(self, fn: Any, recurse: bool = True) -> OpenMAGVIT2Transformer:
        super()._apply(fn, recurse)
        self._make_tables()
        return self

    def parts(self, indices_BL: Tensor) -> tuple[Tensor, ...]:
        """The first and the second part of codes."""
        return split_code(indices_BL, self.factors)

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        one_BL, two_BL = self.parts(indices_BL)
        return self.first_embedding(one_BL) + self.second_embedding(two_BL)

    def normalize(self, x_BLD: Tensor, cache: KVCache | None, context: Tensor | None) -> Tensor:
        return x_BLD  # the norm comes behind the inner blocks

    def inner(self, x_NTD: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor:
        """The sequence within each position, its feature and then the first part of its code, to what the heads read."""
        T = x_NTD.shape[1]
        assert self.rotations is not None
        for layer, block in enumerate(self.inner_blocks):
            rotations = self.rotations[position : position + T]
            x_NTD = block(x_NTD, rotations, None, T > 1, cache, layer, position)
        return self.norm(x_NTD)

    def part_features(self, indices_BL: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """What the head of each part reads for every code, (B L, D)."""
        x_ND = self.features(indices_BL[:, :-1], cond).flatten(0, 1)
        known_ND = self.first_embedding(self.parts(indices_BL)[0]).flatten(0, 1)
        one_ND, two_ND = self.inner(torch.stack([x_ND, known_ND], dim=1)).unbind(1)
        return one_ND, two_ND

    def loss(  # pyrefly: ignore[bad-override]
        self, targets: Targets, cond: Tensor
    ) -> dict[str, Tensor]:
        """`cross_entropy` of the codes in nats, that of their first parts and that of the second given the first.

        Args:
            targets, cond: See `AutoregressiveGenerator.loss`; classes only.

        Raises:
            UserError: See `AutoregressiveGenerator.loss`.
        """
        indices_BL = codes_to_learn(self, targets, cond).indices_BL
        value = torch.zeros((), device=self.device)
        heads = (self.head, self.second_head)
        for head, x_ND, part_BL in zip(
            heads, self.part_features(indices_BL, cond), self.parts(indices_BL), strict=True
        ):
            value = value + chunked_cross_entropy(x_ND, head.weight, part_BL.flatten(), rows=self.loss_rows)
        return {'cross_entropy': value}

    def _last_logits(
        self,
        x_BLD: Tensor,
        cache: KVCache,
        position: int | Tensor,
        visible_BT: Tensor | None,
        scale: float | Tensor | None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Features of the last token, with and without the condition: `FactorizedPick` makes logits of them."""
        return self.extend(x_BLD, cache, position, visible_BT)[:, -1]

    def guidance_of(self, sampling: SamplingSettings) -> SequenceGuidance:
        assert isinstance(sampling, FactorizedSampling)
        return SequenceGuidance(cfg_scale=max(sampling.scales))

    def uniforms(self, seeds: Sequence[int]) -> Tensor:
        return uniforms(seeds, 2 * self.layout.length).unflatten(1, (-1, 2))

    def picker(self, sampling: SamplingSettings) -> Pick:
        assert isinstance(sampling, FactorizedSampling)
        return FactorizedPick(self, sampling)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks and one within positions, 64 channels, 16 codes of 8 x 16; dropout and all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=128)
        return dict(layout=layout, factors=(8, 16), dim=64, depth=2, inner_depth=1, heads=2, hidden_multiple=32)

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """A small tokenizer with these codes, for images of 64x64."""
        return small_tokenizer(codebook_size=128)


@dataclass(frozen=True)
class FactorizedPick:
    """Draws both parts of a code from the feature of its position."""

    model: OpenMAGVIT2Transformer
    sampling: FactorizedSampling

    def __call__(self, x_BD: Tensor, uniform_B2: Tensor) -> Tensor:
        """(B, D), or (2 B, D) with those without the condition behind, and two numbers an image, to codes (B,)."""
        model, given = self.model, self.sampling
        guided = len(x_BD) != len(uniform_B2)
        attention = (model.kv_heads, 2, model.head_dim, x_BD.dtype, x_BD.device)
        cache = KVCache(len(model.inner_blocks), len(x_BD), *attention)
        temperatures = (given.temperature, given.second_temperature if given.temperature else 0.0)
        token_BD, parts = x_BD, []
        for number, head in enumerate((model.head, model.second_head)):
            logits_BV = head(model.inner(token_BD[:, None], cache, number)[:, 0]).float()
            if guided:
                logits_BV = guide(logits_BV, given.scales[number])
            sampler = Sampler(temperatures[number], given.top_k, given.top_p)
            parts.append(sampler(logits_BV, uniform_B2[:, number].contiguous()))
            token_BD = model.first_embedding(parts[0].repeat(2) if guided else parts[0])
        return join_code(parts, model.factors)
