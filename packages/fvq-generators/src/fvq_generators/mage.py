"""MAGE (Li et al., 2023) conditioned on a representation, as RCG has it (Li et al., 2024, "Return of unconditional
generation"): masked codes by an encoder of those that are there and a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .checks import check_rates, codes_to_learn, layout_of
from .cross_entropy import chunked_cross_entropy
from .layers import init_xavier
from .layers.pre_norm_block import PreNormBlock
from .layers.representation_embedding import RepresentationEmbedding
from .masked.code_embedding import CodeEmbedding
from .masked.decoding import GuidedLogits
from .masked.mage_settings import MAGESampling
from .masked.masked_generator import MaskedGenerator
from .masked.schedules import hide, normal_share
from .masked.settings import MaskedSampling
from .representation_diffusion import standardized
from .sampling import guide


@GENERATORS.register_module()
class MAGE(MaskedGenerator):
    """Encodes representation and known codes, and decodes what can be said of the hidden ones; sampling is MaskGIT's.

    Training drops some of the hidden codes from the encoder, which sees the others as masks. In the decoder each of them is
    what the encoder made of the representation. The head's matrix is the codes' vectors, which it does not teach.

    The published sizes (encoder blocks x dim, heads; decoder): B 12 x 768, 12; 8 x 768, 16. L 24 x 1024, 16; 8 x 1024, 16.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or `dict(type='Grid', height=16, width=16, codebook_size=1024)`.
        channels: Channels C of a representation.
        dim, depth, heads: Of the encoder.
        decoder_dim, decoder_depth, decoder_heads: Of the decoder; dim and heads are by default the encoder's.
        mlp_ratio: Hidden channels of the feed-forward layers, for each of their own.
        cond_dropout: Share of the representations that training drops, for classifier-free guidance.
        least_masked: Smallest share of the codes that training masks, and the share that it drops.
        most_masked, masked_mean, masked_std: The largest share; mean and deviation of the normal that is cut to these.
        label_smoothing: See `chunked_cross_entropy`.
        attention_dropout, dropout: See `PreNormBlock`.
        loss_rows: Rows of logits that the loss has at once; see `chunked_cross_entropy`.

    Raises:
        UserError: A layout that it cannot model, or arguments that do not fit each other.
    """

    Sampling = MAGESampling
    num_classes = None

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        channels: int = 256,
        dim: int = 1024,
        depth: int = 24,
        heads: int = 16,
        decoder_dim: int | None = None,
        decoder_depth: int = 8,
        decoder_heads: int | None = None,
        mlp_ratio: float = 4.0,
        cond_dropout: float = 0.1,
        least_masked: float = 0.5,
        most_masked: float = 1.0,
        masked_mean: float = 0.75,
        masked_std: float = 0.25,
        label_smoothing: float = 0.1,
        attention_dropout: float = 0.1,
        dropout: float = 0.1,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        check_sizes('MAGE', channels=channels, dim=dim, depth=depth, heads=heads, decoder_depth=decoder_depth)
        check_rates('MAGE', cond_dropout=cond_dropout, label_smoothing=label_smoothing)
        check_rates('MAGE', attention_dropout=attention_dropout, dropout=dropout)
        if not 0.0 < least_masked <= most_masked <= 1.0 or masked_std <= 0.0:
            raise UserError(
                'MAGE: needs 0 < least_masked <= most_masked <= 1 and masked_std above 0, got '
                f'{least_masked}, {most_masked} and {masked_std}.'
            )
        self.shares = dict(mean=masked_mean, std=masked_std, a=least_masked, b=most_masked)
        self.label_smoothing, self.loss_rows = label_smoothing, loss_rows
        L, V, width = self.layout.length, self.layout.vocab_size, decoder_dim or dim
        self.caption_shape = (1, channels)
        self.condition = RepresentationEmbedding(channels, dim, cond_dropout)
        self.codes = CodeEmbedding(V, dim)
        self.positions = nn.Parameter(torch.empty(L, dim))
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(
            PreNormBlock(dim, heads, int(dim * mlp_ratio), attention_dropout, dropout) for _ in range(depth)
        )
        self.encoder_norm = nn.LayerNorm(dim, 1e-6)
        self.decoder_input = nn.Linear(dim, width)
        self.decoder_positions = nn.Parameter(torch.empty(1 + L, width))
        self.decoder = nn.ModuleList(
            PreNormBlock(width, decoder_heads or heads, int(width * mlp_ratio), attention_dropout, dropout)
            for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(width, 1e-6)
        self.transform = nn.Linear(width, dim)
        self.transform_norm = nn.LayerNorm(dim)
        self.head_bias = nn.Parameter(torch.zeros(V))
        self.apply(init_xavier)
        for table in (self.positions, self.decoder_positions, self.codes.table.weight):
            nn.init.normal_(table, std=0.02)
        self.blocks = (*self.encoder, *self.decoder)

    def encode(self, indices_BL: Tensor, hidden_BL: Tensor, dropped_BL: Tensor, rep_B1D: Tensor) -> Tensor:
        """What the encoder makes of representation and codes: (B, 1 + L - dropped, D).

        Args:
            indices_BL: Codes; those that are hidden are not looked at.
            hidden_BL: bool; these are masks.
            dropped_BL: bool, as many in each image; these are left out.
            rep_B1D: What `condition` gives.
        """
        x_BLD = self.codes(indices_BL.masked_fill(hidden_BL, self.codes.vocab_size))
        x_BLD = self.dropout(self.norm(x_BLD + self.positions))
        x_BND = x_BLD[~dropped_BL].view(len(x_BLD), -1, x_BLD.shape[-1])
        x_BND = torch.cat([rep_B1D.type_as(x_BND), x_BND], 1)
        for block in self.encoder:
            x_BND = block(x_BND)
        return self.encoder_norm(x_BND)

    def decode(self, x_BND: Tensor, hidden_BL: Tensor, dropped_BL: Tensor) -> Tensor:
        """What the head reads, (B, 1 + L, decoder_dim), that of the representation first, from what `encode` gives."""
        rep_B1W, x_BNW = self.decoder_input(x_BND).split([1, x_BND.shape[1] - 1], 1)
        x_BLW = rep_B1W.repeat(1, hidden_BL.shape[1], 1)
        x_BLW[~dropped_BL] = x_BNW.flatten(0, 1)
        x_BLW = torch.where(hidden_BL[..., None], rep_B1W, x_BLW)
        x_BLW = torch.cat([rep_B1W, x_BLW], 1) + self.decoder_positions
        for block in self.decoder:
            x_BLW = block(x_BLW)
        return self.decoder_norm(x_BLW)

    def transformed(self, x: Tensor) -> Tensor:
        """Features (..., decoder_dim) as what is compared with the codes' vectors, (..., dim)."""
        return self.transform_norm(F.gelu(self.transform(x)))

    @property
    def matrix(self) -> Tensor:
        """The head's matrix (V, dim)."""
        return self.codes.table.weight[: self.codes.vocab_size].detach()

    def logits(self, x: Tensor) -> Tensor:
        """float32 logits (..., V) of what `decode` gives."""
        return F.linear(self.transformed(x), self.matrix, self.head_bias).float()

    def draw_hidden(self, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Which codes training hides and which of these it drops: bool (B, L), as many in each image."""
        share = normal_share(**self.shares)
        hidden_BL, dropped_BL = hide(batch, self.layout.length, device, share, self.shares['a'])
        return hidden_BL, dropped_BL

    def loss(
        self, targets: Targets, cond: Tensor, caption_mask_BT: Tensor | None = None, valid_B: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`cross_entropy` of the hidden codes in nats, label smoothing included.

        Args:
            targets: Codes of this model's layout.
            cond: Representations (B, C) or (B, 1, C), which are standardized here.
            caption_mask_BT: Of a store of captions; a representation is one vector, so that nothing is masked.
            valid_B: Weight of each image.

        Raises:
            UserError: See `codes_to_learn`.
        """
        indices_BL = codes_to_learn(self, targets, cond).indices_BL
        hidden_BL, dropped_BL = self.draw_hidden(len(indices_BL), indices_BL.device)
        rep_B1D = self.condition(standardized(cond.flatten(1).float()))
        x_BTW = self.decode(self.encode(indices_BL, hidden_BL, dropped_BL, rep_B1D), hidden_BL, dropped_BL)
        x_ND = self.transformed(x_BTW[:, 1:][hidden_BL])
        weights_N = None if valid_B is None else valid_B[:, None].expand_as(hidden_BL)[hidden_BL]
        loss = chunked_cross_entropy(
            x_ND,
            self.matrix,
            indices_BL[hidden_BL],
            weights_N,
            self.loss_rows,
            bias_V=self.head_bias,
            label_smoothing=self.label_smoothing,
        )
        return {'cross_entropy': loss}

    def passes(self, cond: Tensor, sampling: MaskedSampling, blank: bool) -> GuidedLogits:
        cond = cond.flatten(1)
        both = torch.cat([cond, self.condition.null(cond).to(cond.dtype)]) if sampling.active else cond
        rep_B1D = self.condition(both)

        def logits(indices_BL: Tensor, rows_BN: Tensor, scale: float) -> Tensor:
            copies = 1 if scale == 1.0 else 2
            indices_BL, rows_BN = indices_BL.repeat(copies, 1), rows_BN.repeat(copies, 1)
            x_BLW = self.features(indices_BL, rep_B1D[: len(indices_BL)])
            found = self.logits(x_BLW.gather(1, rows_BN[..., None].expand(-1, -1, x_BLW.shape[-1])))
            return found if copies == 1 else guide(found, scale)

        return logits

    def features(self, indices_BL: Tensor, rep_B1D: Tensor) -> Tensor:
        """What the head reads of each code, (B, L, decoder_dim); V, the number of codes there are, stands for a hidden one."""
        hidden_BL = indices_BL == self.codes.vocab_size
        dropped_BL = torch.zeros_like(hidden_BL)
        return self.decode(self.encode(indices_BL, hidden_BL, dropped_BL, rep_B1D), hidden_BL, dropped_BL)[:, 1:]

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Blocks of 32 channels, for 4x4 codes of 64 unless an `RCG` says for which."""
        layout = dict(layout=dict(type='Grid', height=4, width=4, codebook_size=64)) if 'layout' in cfg else {}
        return dict(**layout, dim=32, depth=1, heads=2, decoder_depth=1)
