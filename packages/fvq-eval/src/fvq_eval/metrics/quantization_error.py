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

    def __init__(self, preset: str = 'strict') -> None:
        self.preset = preset

    def reset(self, autoencoder: Autoencoder) -> None:
        device = next(autoencoder.parameters()).device
        D = autoencoder.latent_channels
        # squared error, sum of |z|^2, number of vectors, number of images, then the sum of z
        self.sums = torch.zeros(4 + D, dtype=torch.float64, device=device)

    def update(self, images_BCHW: Tensor, output: AutoencoderOutput, autoencoder: Autoencoder) -> None:
        out = output.quantized
        if out is None or out.z_BDHW is None:
            return
        z_ND, z_q_ND = (to_vectors(x).double() for x in (out.z_BDHW, out.z_q_BDHW))
        self.sums[0] += (z_ND - z_q_ND).square().sum()
        self.sums[1] += z_ND.square().sum()
        self.sums[2] += len(z_ND)
        self.sums[3] += len(images_BCHW)
        self.sums[4:] += z_ND.sum(0)

    def statistics(self) -> list[Tensor]:
        return [self.sums]

    def compute(self) -> dict[str, MetricValue]:
        error, square, vectors, samples = self.sums[:4].tolist()
        if not vectors:
            return {}
        mean_D = self.sums[4:] / vectors
        variance = square / vectors - mean_D.square().sum().item()
        relative = error / vectors / variance if variance > 0 else float('nan')
        counts = (int(samples), int(vectors), self.preset)
        return {
            'quantization_error': MetricValue(error / vectors, '', PROTOCOL, *counts),
            'relative_quantization_error': MetricValue(
                relative, '', f'{PROTOCOL}, over the total variance of the latents', *counts
            ),
        }
