"""The same evaluation by one process, or by two with the odd and the even images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fvq_core.data.image_folder import ImageFolder
from fvq_core.errors import UserError
from fvq_core.metric import MetricValue
from fvq_core.tokenizer import Tokenizer
from fvq_eval.reconstruction import PresetEvaluator
from tests.tiny import tiny_tokenizer

NAMES = ['adm', 'llamagen', 'fvq-release', 'ibq', 'rqvae', 'strict']
SIZE = 64
SIDES = [(80, 70), (64, 64), (150, 90), (50, 60), (66, 131), (200, 201), (97, 65)]


def write_images(folder: Path) -> str:
    """Seven smooth images of several sizes, as PNG."""
    for number, (width, height) in enumerate(SIDES):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f'{number}.png')
    return str(folder)


def evaluator(presets: Sequence[str], images: int | None = None) -> PresetEvaluator:
    """With random features and no perceptual network."""
    return PresetEvaluator(
        presets, extractor=dict(type='RandomFeatures'), lpips_weights='/nowhere', image_size=SIZE, images=images
    )


def seeded_tokenizer() -> Tokenizer:
    """The same one each time."""
    torch.manual_seed(0)
    return tiny_tokenizer()


def evaluate(files: ImageFolder) -> dict[str, MetricValue]:
    return evaluator(NAMES).evaluate(seeded_tokenizer(), files, batch_size=4)


def evaluate_on_rank(rank: int, root: str) -> dict[str, Any]:
    """What one of two processes returns."""
    return {key: value.to_dict() for key, value in evaluate(ImageFolder(root)).items()}


def error_on_rank(rank: int, root: str) -> str:
    """The error of one of two processes."""
    with pytest.raises(UserError) as error:
        evaluate(ImageFolder(root))
    return str(error.value)
