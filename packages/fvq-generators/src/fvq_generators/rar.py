"""RAR (Yu et al., 2024): an autoregressive model that is trained in random orders which turn into reading order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Targets
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes
from fvq_core.sampling_settings import SamplingSettings, setting

from .checks import check_rates, codes_to_learn
from .cross_entropy import chunked_cross_entropy
from .layers import MLP, AdaLayerNorm, Attention, KVCache, Linear, Modulation
from .random_order import ConditionedBlock, RandomOrderGenerator
from .sampling import SCHEDULES, RisingGuidance, Sampler, SequenceGuidance

EPS = 1e-6


@dataclass(frozen=True)
class PowerCosine(RisingGuidance):
    """`1 + (scale - 1) (1 - cos(pi (i / L)^power)) / 2` for code i of L."""

    cfg_schedule: str = setting('cosine', 'schedule of the guidance scale over the image', choices=SCHEDULES)


@GENERATORS.register_module()
class RAR(RandomOrderGenerator):
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

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

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
        check_sizes('RAR', dim=dim, depth=depth, heads=heads, num_classes=num_classes, width=width or 1)
        check_rates('RAR', cond_dropout=cond_dropout)
        super().__init__(layout, dim, num_classes, cond_dropout)
        self.checkpointing, self.loss_rows = checkpointing, loss_rows
        self.code_embedding = nn.Embedding(self.layout.vocab_size, dim)
        self.blocks = nn.ModuleList(
            ConditionedBlock(
                Attention(dim, heads, None, attention_dropout, dropout, bias=True, qk_norm=EPS),
                MLP(dim, width or 4 * dim, dropout, 'none'),
                nn.LayerNorm(dim, EPS),
                nn.LayerNorm(dim, EPS),
                Modulation(dim),
            )
            for _ in range(depth)
        )
        self.kv_heads, self.head_dim = heads, dim // heads
        self.norm = AdaLayerNorm(nn.LayerNorm(dim, EPS, elementwise_affine=False), Modulation(dim, 2))
        self.head = Linear(dim, self.layout.vocab_size)
        self._init_weights()
        self._make_tables()

    def code_tokens(self, indices_BL: Tensor) -> Tensor:
        return self.code_embedding(indices_BL)

    def normalize(self, x_BLD: Tensor, cache: KVCache | None, context: Tensor | None) -> Tensor:
        assert context is not None
        return self.norm(x_BLD, context)

    def loss(  # pyrefly: ignore[bad-override]
        self, targets: Targets, cond: Tensor, order_BL: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`cross_entropy` of the codes in nats, each from those before it in an order.

        Args:
            targets, cond: See `AutoregressiveGenerator.loss`; classes only.
            order_BL: See `in_order`.

        Raises:
            UserError: See `AutoregressiveGenerator.loss` and `in_order`.
        """
        ordered_BL, order_BL = self.in_order(codes_to_learn(self, targets, cond).indices_BL, order_BL)
        x_ND = self.features(ordered_BL[:, :-1], cond, order_BL)[:, 1:].flatten(0, 1)
        weight, bias, rows = self.head.weight, self.head.bias, self.loss_rows
        value = chunked_cross_entropy(x_ND, weight, ordered_BL.flatten(), rows=rows, bias_V=bias)
        return {'cross_entropy': value}

    def guidance_of(self, sampling: SamplingSettings) -> SequenceGuidance:
        return sampling.part(PowerCosine)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes; dropout and all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        return dict(layout=layout, dim=64, depth=2, heads=2, width=128)
