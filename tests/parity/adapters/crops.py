"""ADM's crops."""

from __future__ import annotations

import random

import torch
from PIL import Image
from torch import Tensor

from fvq_core.data import ADMCenterCrop, ADMRandomCrop
from fvq_core.data.sample import to_tensor

from ..case import Case


class RecordingRandom(random.Random):
    """Remembers what `randrange` gave."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.draws: list[int] = []

    def randrange(self, *arguments: int) -> int:
        self.draws.append(super().randrange(*arguments))
        return self.draws[-1]


def adm_crops(case: Case) -> dict[str, Tensor]:
    image = Image.fromarray(case.inputs['image'].numpy())
    options = case.constructor
    got = {}
    for size in options['center_sizes']:
        cropped = ADMCenterCrop(size, upsample=True)(image, random.Random(0))
        got[f'center_{size}'] = to_tensor(cropped).permute(1, 2, 0)
    for number, (size, seed) in enumerate(options['random_']):
        rng = RecordingRandom(seed)
        crop = ADMRandomCrop(size, options['min_crop_frac'], options['max_crop_frac'], upsample=True)
        got[f'random_{number}'] = to_tensor(crop(image, rng)).permute(1, 2, 0)
        got[f'random_{number}_draws'] = torch.tensor(rng.draws)
    return got
