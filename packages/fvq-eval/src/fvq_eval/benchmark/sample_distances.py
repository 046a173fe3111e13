"""Kernel distances of a generator's samples beside those of reconstructions, from real crops that neither has seen."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.images import from_uint8, to_uint8
from fvq_core.metric import MetricValue
from fvq_core.registry import FEATURE_EXTRACTORS, plain

from ..distances.kernel import kernel_distance_of_all
from .generator_data import drawn_crops

BATCH = 32


@dataclass(frozen=True)
class RealCrops:
    """Real crops and their distances from the reference; no generator or tokenizer changes them.

    Attributes:
        reference_ND: Features of one half of the evaluation crops.
        other_NCHW: The other half, uint8.
        of_others: The distance of those: what perfect reconstructions would have.
        of_training: The distance of training crops: what samples of a perfect generator would have.
    """

    reference_ND: Tensor
    other_NCHW: Tensor
    of_others: float
    of_training: float
    training: int


class SampleDistances:
    """Distances in the features of one network.

    Args:
        extractor: Config of the network.
        crops: Largest number of crops in each set.
    """

    def __init__(self, extractor: Mapping[str, Any], crops: int) -> None:
        self.extractor, self.crops = FEATURE_EXTRACTORS.build(dict(extractor)), crops
        self.real: dict[str, RealCrops] = {}  # by data
        self.lock = threading.Lock()

    @torch.no_grad()
    def measure(self, cfg: Any, autoencoder: Autoencoder, samples_NCHW: Tensor) -> dict[str, MetricValue]:
        """Distances of samples, of reconstructions of evaluation crops, and of real crops, by name.

        Args:
            cfg: The run's config, which names the data.
            autoencoder: Its tokenizer.
            samples_NCHW: The generator's, uint8.
        """
        with self.lock:  # runs of one data set share what is real
            key = repr([plain(cfg[f'{part}_dataloader']['dataset']) for part in ('train', 'val')])
            real = self.real.get(key) or self.real.setdefault(key, self.measure_real(cfg))
        made = [to_uint8(autoencoder(from_uint8(part)).reconstruction) for part in real.other_NCHW.split(BATCH)]
        reference = real.reference_ND
        protocol = (
            f'squared MMD, polynomial kernel of degree 3, {self.extractor.name} features ({self.extractor.provenance}), '
            f'unbiased, against {len(reference)} real evaluation crops'
        )
        return dict(
            kid_of_samples=MetricValue(self.distance(reference, samples_NCHW), '', protocol, len(samples_NCHW)),
            kid_of_reconstructions=MetricValue(
                self.distance(reference, torch.cat(made)), '', protocol, len(real.other_NCHW)
            ),
            kid_of_real=MetricValue(real.of_others, '', protocol, len(real.other_NCHW)),
            kid_of_training_crops=MetricValue(real.of_training, '', protocol, real.training),
        )

    def measure_real(self, cfg: Any) -> RealCrops:
        """What the real crops of a run's data are."""
        pixels = drawn_crops(cfg.val_dataloader['dataset'], 2 * self.crops)
        training = drawn_crops(cfg.train_dataloader['dataset'], self.crops)
        reference, other = pixels[0::2], pixels[1::2]
        reference_ND = self.features(reference)
        of_others, of_training = (self.distance(reference_ND, crops) for crops in (other, training))
        return RealCrops(reference_ND, other, of_others, of_training, len(training))

    def distance(self, reference_ND: Tensor, pixels_NCHW: Tensor) -> float:
        """From features to images."""
        return kernel_distance_of_all(reference_ND, self.features(pixels_NCHW))

    def features(self, pixels_NCHW: Tensor) -> Tensor:
        """Pooled features, (N, D)."""
        return torch.cat([self.extractor(part)['pool'] for part in pixels_NCHW.split(BATCH)])
