"""The contract of metrics: streaming statistics, reduced over ranks, every number stamped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch.distributed as dist
from torch import Tensor

from .autoencoder import Autoencoder, AutoencoderOutput
from .errors import UserError
from .stamp import stamp


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
        weights: Weights that were measured, or images if there is no model; None until it is saved.
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

    Attributes:
        needs_codes: Whether it is of codes or of a quantizer, so that a continuous autoencoder has no such value.
    """

    needs_codes: ClassVar[bool] = False

    def reset(self, autoencoder: Autoencoder) -> None:
        """Start over, for this autoencoder."""
        raise NotImplementedError

    def update(self, images_BCHW: Tensor, output: AutoencoderOutput, autoencoder: Autoencoder) -> None:
        """Add a batch: images in [-1, 1] and the output of the autoencoder in eval mode."""
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


def check_metrics(metrics: Sequence[Metric], autoencoder: Autoencoder | None) -> None:
    """Raise if a metric needs codes and an autoencoder has none."""
    names = ', '.join(type(metric).__name__ for metric in metrics if metric.needs_codes)
    if autoencoder is not None and autoencoder.quantizer is None and names:
        kind = type(autoencoder).__name__
        raise UserError(f'val_evaluator: {names} need codes, {kind} has continuous latents; leave them out.')
