"""A head that predicts the bits of a code in a few masked steps (BAR, Yu et al., 2026, arXiv 2602.09024)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sampling import check_drawable
from .ada_layer_norm import AdaLayerNorm, Modulation, modulate
from .linear import Linear
from .rms_norm import RMSNorm
from .swiglu import SwiGLU

EPS = 1e-6
MASKED = 2  # in place of a bit
VISIBLE_WEIGHT = 0.1  # of a bit that is not masked, in the loss
SPREAD = 0.8  # of the logistic-normal shares that training masks
TINY = 1e-12


def even_shares(bits: int, steps: int) -> list[int]:
    """Bits that are drawn at each step: as many at each, and what is left over one by one at the last steps."""
    each, left = divmod(bits, steps)
    return [each + (step >= steps - left) for step in range(steps)]


class FourierEmbedding(nn.Module):
    """Numbers in [0, 1] to channels: sines and cosines of fixed random frequencies, then two maps with SiLU between them.

    Args:
        width: Channels W.
        frequencies: Their number; they are drawn from a normal distribution and stay. A parameter, as those of rank 0 count.
    """

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(frequencies), requires_grad=False)
        self.inner, self.outer = nn.Linear(2 * frequencies, width), nn.Linear(width, width)

    def forward(self, share_N: Tensor) -> Tensor:
        """(N,) to (N, W)."""
        angles = 2 * math.pi * share_N.float()[:, None] * self.frequencies.float()
        features = torch.cat([angles.sin(), angles.cos()], 1).to(self.inner.weight.dtype)
        return self.outer(F.silu(self.inner(features)))


class BitBlock(nn.Module):
    """`x + gate swiglu(modulate(norm(x)))`.

    Args:
        width: Channels W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.ffn = RMSNorm(width, EPS), SwiGLU(width, int(2 / 3 * 4 * width), bias=True)
        self.modulation = Modulation(width, 3)

    def forward(self, x_N1W: Tensor, cond_N1W: Tensor) -> Tensor:
        """(N, 1, W) and the condition (N, 1, W) to (N, 1, W)."""
        gate, scale, shift = self.modulation(cond_N1W).unbind(2)
        return x_N1W + gate * self.ffn(modulate(self.norm(x_N1W), scale, shift))


class MaskedBitHead(nn.Module):
    """An MLP that reads all bits of a code, some of them masked, and predicts each, told what a transformer says of the code.

    Args:
        bits: Bits S of a code.
        width: Channels W of the MLP.
        depth: Its blocks; 3 in the release.
    """

    def __init__(self, bits: int, width: int, depth: int = 3) -> None:
        super().__init__()
        self.bits = bits
        each = math.ceil(width / bits)
        self.bit_embedding = nn.Embedding(3, each)
        self.input, self.input_norm = Linear(each * bits, width), RMSNorm(width, EPS)
        self.share_embedding = FourierEmbedding(width)
        self.blocks = nn.ModuleList(BitBlock(width) for _ in range(depth))
        self.norm = AdaLayerNorm(RMSNorm(width, EPS), Modulation(width, 2))
        self.output = Linear(width, 2 * bits)

    def forward(self, bits_NS: Tensor, cond_NW: Tensor, share_N: Tensor) -> Tensor:
        """float32 logits of both values of each bit, (N, S, 2).

        Args:
            bits_NS: 0, 1, or 2 where it is masked.
            cond_NW: What the transformer says of each code.
            share_N: The share of the bits that is masked.
        """
        x_N1W = self.input_norm(self.input(self.bit_embedding(bits_NS).flatten(1)))[:, None]
        cond_N1W = F.silu(self.share_embedding(share_N) + cond_NW)[:, None]
        for block in self.blocks:
            x_N1W = block(x_N1W, cond_N1W)
        return self.output(self.norm(x_N1W, cond_N1W))[:, 0].float().unflatten(-1, (-1, 2))

    def draw_masks(self, bits_NS: Tensor) -> tuple[Tensor, Tensor]:
        """The share of each code's bits that is masked, (N,), and which, bool (N, S).

        The share is 1 - sigmoid(0.8 n), n drawn from a normal distribution, and at least one bit.
        """
        N, S = bits_NS.shape
        share_N = (1 - torch.sigmoid(SPREAD * torch.randn(N, device=bits_NS.device))).clamp(min=1 / S)
        count_N = (S * share_N).round().clamp(min=1)
        return share_N, torch.rand(N, S, device=bits_NS.device).argsort(1) < count_N[:, None]

    def loss(self, bits_NS: Tensor, cond_NW: Tensor) -> Tensor:
        """The mean cross-entropy of bits, some of which are masked at random, in nats; visible ones count a tenth."""
        share_N, masked_NS = self.draw_masks(bits_NS)
        off_NS, on_NS = self(bits_NS.masked_fill(masked_NS, MASKED), cond_NW, share_N).unbind(-1)
        losses_NS = F.binary_cross_entropy_with_logits(on_NS - off_NS, bits_NS.float(), reduction='none')
        weights_NS = VISIBLE_WEIGHT + (1 - VISIBLE_WEIGHT) * masked_NS.float()
        return (losses_NS * weights_NS).sum() / weights_NS.sum()

    def draw(
        self,
        cond_NW: Tensor,
        uniform_N2TS: Tensor,
        shares: Sequence[int],
        temperature: float,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Bits (N, S): at each step more of them, those whose logits are the largest, with noise that falls step by step.

        Args:
            cond_NW: What the transformer says of each code; with guidance (2 N, W), without the condition behind.
            uniform_N2TS: Numbers in [0, 1) for each step, for values and for which bits come first.
            shares: Bits that are drawn at each step; at most T steps, S together.
            temperature: Of the noise at the first step; at step t of T it is (1 - t / T) as large. 0 for none.
            scale: Of guidance, a single number.
        """
        N, S, steps, known = len(uniform_N2TS), self.bits, len(shares), 0
        bits_NS = torch.full((N, S), MASKED, device=cond_NW.device)
        for step, share in enumerate(shares):
            masked = torch.full((len(cond_NW),), 1 - known / S, device=cond_NW.device)
            logits_NS2 = self(bits_NS if scale is None else bits_NS.repeat(2, 1), cond_NW, masked)
            if scale is not None:
                conditional, without = logits_NS2.chunk(2)
                logits_NS2 = without + scale * (conditional - without)
            check_drawable(logits_NS2)
            noise = temperature * (1 - step / steps)
            value_NS, order_NS = uniform_N2TS[:, :, step].clamp(TINY, 1 - TINY).unbind(1)
            off_NS, on_NS = logits_NS2.unbind(-1)
            drawn_NS = (
                on_NS - off_NS + noise * torch.logit(value_NS).float() > 0
            ).long()  # two Gumbel draws, subtracted
            confidence_NS = torch.where(drawn_NS == 1, on_NS, off_NS) - noise * (-order_NS.log()).log().float()
            masked_NS = bits_NS == MASKED
            known += share
            first_NS = confidence_NS.masked_fill(~masked_NS, torch.inf).topk(known, dim=1).indices
            chosen_NS = torch.zeros_like(masked_NS).scatter(1, first_NS, True)
            bits_NS = torch.where(masked_NS & chosen_NS, drawn_NS, bits_NS)
        return bits_NS
