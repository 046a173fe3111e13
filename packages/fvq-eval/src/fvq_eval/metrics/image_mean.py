"""A mean over images of one number an image."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fvq_core.images import to_uint8
from fvq_core.metric import Metric, MetricValue
from fvq_core.tokenizer import Tokenizer, TokenizerOutput


class ImageMean(Metric):
    """Sums `score(image, reconstruction)` in float64 over images rounded to 8 bits."""

    name: ClassVar[str]
    unit: ClassVar[str] = ''
    protocol: ClassVar[str]

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        """One number an image, (B,), from uint8 images (B, 3, H, W)."""
        raise NotImplementedError

    def reset(self, tokenizer: Tokenizer) -> None:
        device = next(tokenizer.parameters()).device
        self.total = torch.zeros(1, dtype=torch.float64, device=device)
        self.samples = torch.zeros(1, dtype=torch.int64, device=device)
        self.scores: list[Tensor] = []

    def update(self, images_BCHW: Tensor, output: TokenizerOutput, tokenizer: Tokenizer) -> None:
        scores = self.score(to_uint8(images_BCHW), to_uint8(output.reconstruction)).double()
        self.total += scores.sum().to(self.total.device)
        self.samples += len(images_BCHW)
        self.scores.append(scores)

    def per_image(self) -> Tensor:
        """The number of each image that this rank saw, in order, float64 on the CPU."""
        return torch.cat(self.scores).cpu()

    def statistics(self) -> list[Tensor]:
        return [self.total, self.samples]

    def compute(self) -> dict[str, MetricValue]:
        samples = int(self.samples)
        return {self.name: MetricValue(self.total.item() / samples, self.unit, self.protocol, samples)}
