"""The share of the variance that a reconstruction loses: of latents on a store of them, or of pixels."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.errors import UserError
from fvq_core.metric import Metric, MetricValue
from fvq_core.registry import METRICS

from .quantization_error import error_sums, errors

PROTOCOL = 'squared error of the reconstructed values of the whole evaluation set, over their total variance'


@METRICS.register_module()
class RelativeError(Metric):
    """`relative_error`: 0 is an exact copy, 1 is no better than the mean value of each channel everywhere.

    Where a quantizer of frozen latents is evaluated on a store (`FrozenLatentsTask`), it is of latents: behind the rectifier,
    as `relative_quantization_error` is before it. Of images it is of pixels, not clamped and not rounded.

    Args:
        preset: Name of the preset, which decides only which crops are encoded.
    """

    takes_latents = True

    def __init__(self, preset: str = 'strict') -> None:
        self.preset = preset

    def reset(self, autoencoder: Autoencoder) -> None:
        device = next(autoencoder.parameters()).device
        self.sums = torch.zeros(0, dtype=torch.float64, device=device)  # as long as there are channels
        self.samples = torch.zeros(1, dtype=torch.int64, device=device)

    def update(self, images_BCHW: Tensor, output: AutoencoderOutput, autoencoder: Autoencoder) -> None:
        for values in (images_BCHW, output.reconstruction):
            if not values.is_floating_point():
                raise UserError(
                    f'RelativeError: expected floats, got {values.dtype}; from_uint8 makes images in [-1, 1] of uint8 pixels.'
                )
        found = error_sums(images_BCHW, output.reconstruction)
        self.sums = found if not self.sums.numel() else self.sums + found
        self.samples += len(images_BCHW)

    def statistics(self) -> list[Tensor]:
        return [self.sums, self.samples]

    def reduce(self) -> None:
        if dist.is_initialized():  # a rank without images has no sums yet
            length = torch.tensor(self.sums.numel(), device=self.samples.device)
            dist.all_reduce(length, dist.ReduceOp.MAX)
            if not self.sums.numel():
                self.sums = self.sums.new_zeros(int(length))
        super().reduce()

    def compute(self) -> dict[str, MetricValue]:
        value = errors(self.sums)[1]
        return {'relative_error': MetricValue(value, '', PROTOCOL, int(self.samples), preset=self.preset)}
