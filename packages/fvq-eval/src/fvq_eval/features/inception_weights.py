"""The trained weights of the 2015 Inception network: where they are looked for, and how they are checked."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.files.hash import file_sha256
from fvq_core.losses.perceptual.weights import find_published

# torch-fidelity's conversion of TensorFlow's inception-2015-12-05.tgz.
FILE = 'weights-inception-2015-12-05-6726825d.pth'
URL = f'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}'
SHA256 = '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2'


def find_inception(weights: str | Path | None = None) -> Path:
    """The file, downloaded if it is not here yet; see `find_backbone` for where it is looked for, and for errors."""
    return find_published('InceptionV3', URL, weights)


def read_inception(path: Path) -> dict[str, Tensor]:
    """The weights of the published file. Nothing is unpickled before the hash is checked, and then only tensors."""
    digest = file_sha256(path)
    if digest != SHA256:
        raise UserError(
            f'InceptionV3: the sha256 of {path} is {digest[:16]}..., that of {FILE} is {SHA256[:16]}...; it is broken or '
            f'another file. Fetch {URL} again.'
        )
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f'InceptionV3: {path} cannot be read: {" ".join(str(error).split())[:200]}') from error
