"""The contract of metrics: streaming statistics, reduced over ranks, every number stamped."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch.distributed as dist
from torch import Tensor

from .stamp import stamp
from .tokenizer import Tokenizer, TokenizerOutput


@dataclass(frozen=True)
class MetricValue:
    """A number and what it takes to compare it with another.

    Attributes:
        value: The number.
        unit: `%`, `dB`, `codes`, or `''`.
        protocol: How it was computed, in words; numbers whose protocols differ are not compared.
        samples: Number of images.
        tokens: Number of codes, for metrics that count codes.
        preset: Name of the preset; `''` if no preset applies, as for the cost of a projector.
        required: Images that the preset asks for; None if it asks for no number.
        too_few: Why these images are too few for this number, in words; None if they are enough.
        weights: Which weights were measured, or which images if there is no model; None until it is saved.
    """

    value: float
    unit: str
    protocol: str
    samples: int
    tokens: int | None = None
    preset: str = ''
    required: int | None = None
    too_few: str | None = None
    weights: str | None = None

    @property
    def partial(self) -> bool:
        """Whether the preset asks for more images."""
        return self.required is not None and self.samples < self.required

    @property
    def stamp(self) -> str:
        """Preset, protocol, and what is missing of the images, in one sentence."""
        return stamp(asdict(self))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the fields that do not apply."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return f'{self.value:.4g}{" " if self.unit else ""}{self.unit}'


class Metric:
    """Accumulates sums over batches and computes named values.

    A metric holds float64 or int64 tensors, never images; `reduce` sums them over ranks.
    """

    def reset(self, tokenizer: Tokenizer) -> None:
        """Start over, for this tokenizer."""
        raise NotImplementedError

    def update(self, images_BCHW: Tensor, output: TokenizerOutput, tokenizer: Tokenizer) -> None:
        """Add a batch: images in [-1, 1] and the output of the tokenizer in eval mode."""
        raise NotImplementedError

    def statistics(self) -> list[Tensor]:
        """All accumulated tensors, which `reduce` sums over ranks in place."""
        raise NotImplementedError

    def compute(self) -> dict[str, MetricValue]:
        """The values, from the reduced statistics."""
        raise NotImplementedError

    def code_counts(self) -> Tensor | None:
        """How often each code was chosen, int64 (K,), after `reduce`; None for metrics that do not count codes."""
        return None

    def reduce(self) -> None:
        """Sum the statistics over all ranks."""
        if dist.is_initialized():
            for tensor in self.statistics():
                dist.all_reduce(tensor)
