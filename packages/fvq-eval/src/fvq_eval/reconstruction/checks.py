"""Checks of data, crops and reconstructions before they are scored."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fvq_core.autoencoder import Autoencoder
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.errors import UserError
from fvq_core.ops.finite import judge_evidence

from ..presets import Preset


def image_files(files: Dataset) -> ImageDataset:
    """The data set, if it is one of image files."""
    if not isinstance(files, ImageDataset):
        raise UserError(
            f'PresetEvaluator: a preset crops whole image files, and {type(files).__name__} gives crops of its own; pass '
            '--data DIR, or a config whose evaluation set is ImageFolder or TarShards.'
        )
    return files


def check_size(tokenizer: Autoencoder, presets: Sequence[Preset]) -> None:
    """Raise if the tokenizer cannot encode a preset's crops, before the first image is read."""
    for preset in presets:
        try:
            tokenizer.layout(preset.crop.size, preset.crop.size)
        except UserError as error:
            raise UserError(f"preset '{preset.name}': {error}") from None


def check_output(images: Tensor, reconstructions: Tensor, names: Sequence[str]) -> None:
    """Raise if reconstructions cannot be compared with the images; see `deferred_checks`."""
    if reconstructions.shape != images.shape:
        raise UserError(
            f'the tokenizer made {tuple(reconstructions.shape)} of {tuple(images.shape)}; it must keep the size.'
        )
    if not reconstructions.is_floating_point():
        raise UserError(f'the tokenizer gave {reconstructions.dtype}; expected floats, nominally in [-1, 1].')

    def judge(broken_B: Tensor) -> None:
        if broken_B.any():
            raise UserError(
                f'{names[int(broken_B.nonzero()[0])]}: the reconstruction is not finite, and {int(broken_B.sum())} of its '
                'batch are not; the tokenizer is broken, and nothing is scored.'
            )

    judge_evidence(~torch.isfinite(reconstructions).flatten(1).all(1), judge)
