"""How far latents lie from their codes: the paper's D(P_z, C), section 3.1."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.metric import Metric, MetricValue
from fvq_core.quantizer import to_vectors
from fvq_core.registry import METRICS

PROTOCOL = 'mean over the latents of the whole evaluation set of the squared distance to the chosen code'


@METRICS.register_module()
class QuantizationError(Metric):
    """`quantization_error`: D(P_z, C); `relative_quantization_error`: D over the latents' total variance.

    The relative error does not change when latents and codes are scaled together: 0 is a perfect codebook, 1 is no
    better than one code at the mean. A quantizer that compares no latents with codes (`z_BDHW` is None) has neither.

    Args:
        preset: Name of the preset, which decides only which crops are encoded.
    """

    needs_codes = True
    takes_latents = True

    def __init__(self, preset: str = 'strict') -> None:
        self.preset = preset

    def reset(self, autoencoder: Autoencoder) -> None:
        device = next(autoencoder.parameters()).device
        self.sums = torch.zeros(3 + autoencoder.latent_channels, dtype=torch.float64, device=device)
        self.samples = torch.zeros(1, dtype=torch.int64, device=device)

    def update(self, images_BCHW: Tensor, output: AutoencoderOutput, autoencoder: Autoencoder) -> None:
        out = output.quantized
        if out is not None and out.z_BDHW is not None:
            self.sums += error_sums(out.z_BDHW, out.z_q_BDHW)
            self.samples += len(images_BCHW)

    def statistics(self) -> list[Tensor]:
        return [self.sums, self.samples]

    def compute(self) -> dict[str, MetricValue]:
        vectors = int(self.sums[2])
        if not vectors:
            return {}
        error, relative = errors(self.sums)
        counts = (int(self.samples), vectors, self.preset)
        words = f'{PROTOCOL}, over the total variance of the latents'
        return {
            'quantization_error': MetricValue(error, '', PROTOCOL, *counts),
            'relative_quantization_error': MetricValue(relative, '', words, *counts),
        }


def error_sums(z_BDHW: Tensor, z_q_BDHW: Tensor) -> Tensor:
    """Sums over latents, float64 (3 + D,): squared error, squared length, number, then the latents themselves."""
    z_ND, z_q_ND = (to_vectors(x).double() for x in (z_BDHW, z_q_BDHW))
    scalars = ((z_ND - z_q_ND).square().sum(), z_ND.square().sum(), z_ND.new_full((), len(z_ND)))
    return torch.cat([torch.stack(scalars), z_ND.sum(0)])


def errors(sums: Tensor) -> tuple[float, float]:
    """D(P_z, C), and that over the latents' total variance, NaN if they do not vary; see `error_sums`."""
    error, square, vectors = sums[:3].tolist()
    variance = square / vectors - (sums[3:] / vectors).square().sum().item()
    return error / vectors, error / vectors / variance if variance > 0 else float('nan')
