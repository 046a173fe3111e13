"""Usage, perplexity and dead codes over the whole evaluation set."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.metric import Metric, MetricValue
from fvq_core.ops.codebook_statistics import perplexity
from fvq_core.registry import METRICS

PROTOCOL = 'every code of the whole evaluation set, summed over ranks; a code is used if it occurs at least once'
ONE_PERCENT = (
    'every code of the whole evaluation set, summed over ranks; a code is used if it occurs at least 0.01 N/K times, '
    'N codes over a codebook of K'
)


@METRICS.register_module()
class CodebookUsage(Metric):
    """How many codes are used, at two thresholds, and how evenly; all from one int64 histogram.

    `usage` (%): codes that occur. `usage_1pct` (%): codes that occur at least 1 % as often as even use would have it.
    `perplexity` (codes) and `relative_perplexity`, its share of K. `dead_codes` (codes): never chosen.

    Args:
        preset: Name of the preset, which decides only which crops are encoded.
    """

    needs_codes = True
    takes_latents = True
    histogram_K: Tensor
    samples: Tensor

    def __init__(self, preset: str = 'strict') -> None:
        self.preset = preset

    def reset(self, autoencoder: Autoencoder) -> None:
        codebook_KD = autoencoder.require_quantizer(type(self).__name__).codebook()
        self.histogram_K = torch.zeros(codebook_KD.shape[0], dtype=torch.int64, device=codebook_KD.device)
        self.samples = torch.zeros(1, dtype=torch.int64, device=codebook_KD.device)

    def update(self, images_BCHW: Tensor, output: AutoencoderOutput, autoencoder: Autoencoder) -> None:
        indices = autoencoder.quantizer.codebook_indices(output.codes).flatten()
        self.histogram_K.scatter_add_(0, indices, torch.ones_like(indices))  # `bincount` waits for a GPU
        self.samples += len(images_BCHW)

    def dead(self) -> list[int]:
        """The codes that were never chosen, ascending, from the reduced statistics."""
        return (self.histogram_K == 0).nonzero().flatten().tolist()

    def code_counts(self) -> Tensor:
        return self.histogram_K

    def statistics(self) -> list[Tensor]:
        return [self.histogram_K, self.samples]

    def compute(self) -> dict[str, MetricValue]:
        tokens, samples = int(self.histogram_K.sum()), int(self.samples)
        used, K = int((self.histogram_K > 0).sum()), len(self.histogram_K)
        well_used = int((self.histogram_K * 100 * K >= max(tokens, 1)).sum())
        spread = perplexity(self.histogram_K)
        counts = (samples, tokens, self.preset)
        return {
            'usage': MetricValue(100.0 * used / K, '%', PROTOCOL, *counts),
            'usage_1pct': MetricValue(100.0 * well_used / K, '%', ONE_PERCENT, *counts),
            'perplexity': MetricValue(spread, 'codes', PROTOCOL, *counts),
            'relative_perplexity': MetricValue(spread / K, '', f'{PROTOCOL}; perplexity over K', *counts),
            'dead_codes': MetricValue(K - used, 'codes', PROTOCOL, *counts),
        }
