"""Usage, perplexity and dead codes over the whole evaluation set."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.codebook_statistics import perplexity
from fvq_core.metric import Metric, MetricValue
from fvq_core.registry import METRICS
from fvq_core.tokenizer import Tokenizer, TokenizerOutput

PROTOCOL = (
    'strict: every code of the whole evaluation set, summed over ranks; a code is used if it occurs at least once'
)


@METRICS.register_module()
class CodebookUsage(Metric):
    """`usage` (%), `perplexity` (codes), `dead_codes` (codes never chosen), from one int64 histogram."""

    histogram_K: Tensor
    samples: Tensor

    def reset(self, tokenizer: Tokenizer) -> None:
        codebook_KD = tokenizer.quantizer.codebook()
        self.histogram_K = torch.zeros(codebook_KD.shape[0], dtype=torch.int64, device=codebook_KD.device)
        self.samples = torch.zeros(1, dtype=torch.int64, device=codebook_KD.device)

    def update(self, images_BCHW: Tensor, output: TokenizerOutput, tokenizer: Tokenizer) -> None:
        rows = tokenizer.quantizer.rows(output.codes).flatten()
        self.histogram_K += torch.bincount(rows, minlength=len(self.histogram_K))
        self.samples += len(images_BCHW)

    def statistics(self) -> list[Tensor]:
        return [self.histogram_K, self.samples]

    def compute(self) -> dict[str, MetricValue]:
        tokens, samples = int(self.histogram_K.sum()), int(self.samples)
        used, K = int((self.histogram_K > 0).sum()), len(self.histogram_K)
        return {
            'usage': MetricValue(100.0 * used / K, '%', PROTOCOL, samples, tokens),
            'perplexity': MetricValue(perplexity(self.histogram_K), 'codes', PROTOCOL, samples, tokens),
            'dead_codes': MetricValue(K - used, 'codes', PROTOCOL, samples, tokens),
        }
