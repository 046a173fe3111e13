"""Features of captions in `.npy` files, one an image, as LlamaGen's `extract_t5_feature.py` writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.files.arrays import DAMAGED, map_npy


class CaptionError(Exception):
    """One image has no usable caption: its file is missing, damaged or empty, or its features are not finite."""


def read_features(path: str | Path, tokens: int, channels: int) -> np.ndarray:
    """The features (n, C) of a caption, n from 1 to `tokens`.

    The file is mapped and never unpickled: of a longer caption no more is read than what is kept, its first `tokens` vectors.

    Args:
        path: A `.npy` file of floats (1, n, C), as released, or (n, C).
        tokens: The longest caption T.
        channels: C.

    Returns:
        float32.

    Raises:
        CaptionError: Saying in a few words why this image goes without.
        UserError: Features of another model: every file would have the same fault.
    """
    try:
        found = map_npy(path)
    except FileNotFoundError as error:
        raise CaptionError('caption missing') from error
    except DAMAGED as error:
        raise CaptionError(f'caption unreadable: {" ".join(str(error).split())}') from error
    if found.ndim == 3 and found.shape[0] == 1:
        found = found[0]
    if found.ndim != 2 or found.shape[1] != channels or found.dtype.kind != 'f':
        raise UserError(
            f'{path} holds {found.dtype} of shape {found.shape}, expected floats of shape (1, n, {channels}); set channels '
            'and model.generator.caption_dim to those of the text encoder, or extract the features again.'
        )
    if not len(found):
        raise CaptionError('caption empty')
    kept = np.array(found[:tokens], dtype=np.float32)
    if not np.isfinite(kept).all():
        raise CaptionError('caption not finite')
    return kept


def pad_left(features_nC: np.ndarray, tokens: int) -> tuple[Tensor, Tensor]:
    """Features at the end of T positions.

    Returns:
        float32 (T, C), zeros before the caption, and bool (T,), True for the caption.
    """
    captions_TC = torch.zeros(tokens, features_nC.shape[1])
    mask_T = torch.zeros(tokens, dtype=torch.bool)
    captions_TC[tokens - len(features_nC) :] = torch.from_numpy(features_nC)
    mask_T[tokens - len(features_nC) :] = True
    return captions_TC, mask_T


def no_caption(tokens: int, channels: int) -> tuple[Tensor, Tensor]:
    """What stands in for a caption that cannot be used: zeros (T, C), all of them seen, as released."""
    return torch.zeros(tokens, channels), torch.ones(tokens, dtype=torch.bool)
