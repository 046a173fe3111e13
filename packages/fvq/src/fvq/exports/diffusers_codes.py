"""A quantizer as diffusers' `VQModel` has it: the row of a table that is nearest to the latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.quantizer import Quantizer
from fvq_quantizers.distances import DotProduct, OptimalTransport, SquaredL2
from fvq_quantizers.normalizations import L2Normalize, NoNormalization
from fvq_quantizers.vector_quantizer import VectorQuantizer

from .diffusers_network import refuse


@dataclass(frozen=True)
class Table:
    """Codes for a search by distance.

    Args:
        codes_KE: (K, E), of D channels and perhaps more.
        channels: D, those that are decoded; latents have zeros in the others.
    """

    codes_KE: Tensor
    channels: int

    @property
    def extra(self) -> int:
        """Channels that only the search sees."""
        return self.codes_KE.shape[1] - self.channels


def table_of(quantizer: Quantizer) -> Table:
    """The table whose nearest row is the quantizer's choice, and is what it returns.

    Codes of unit length that a unit latent is compared with are nearest to the latent itself too. The largest dot product is
    the least distance if all codes are equally long, which one more channel makes them.

    Raises:
        UserError: There is none.
    """
    if not isinstance(quantizer, VectorQuantizer):
        raise refuse(f'its codes are rows of one table, one a position, and {type(quantizer).__name__} has others')
    codes_KD = quantizer.codebook().detach()
    channels, kind = codes_KD.shape[1], type(quantizer.distance)
    if type(quantizer.normalize) not in (NoNormalization, L2Normalize):
        raise refuse(
            f'{type(quantizer.normalize).__name__} searches other vectors than it returns, and it searches the codes'
        )
    if kind not in (SquaredL2, OptimalTransport, DotProduct):
        raise refuse(f'it searches by Euclidean distance, not by {kind.__name__}')
    if kind is DotProduct and type(quantizer.normalize) is NoNormalization:
        squares_K = codes_KD.double().square().sum(1)
        missing_K = (squares_K.max() - squares_K).sqrt().to(codes_KD.dtype)
        codes_KD = torch.cat([codes_KD, missing_K[:, None]], 1)
    return Table(codes_KD, channels)


def into_table(weight: Tensor, bias: Tensor, extra: int) -> tuple[Tensor, Tensor]:
    """A convolution to the latent, with zeros in the channels that only the search sees."""
    return F.pad(weight, (0, 0, 0, 0, 0, 0, 0, extra)), F.pad(bias, (0, extra))


def out_of_table(weight: Tensor, extra: int) -> Tensor:
    """The weight of a convolution of the code, which leaves those channels out."""
    return F.pad(weight, (0, 0, 0, 0, 0, extra))
