"""The trained weights of the 2015 Inception network: where they are looked for, and how they are checked."""

from __future__ import annotations

import hashlib
import pickle
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.losses.perceptual.weights import CONNECT_TIMEOUT, MissingWeightsError

# torch-fidelity's conversion of TensorFlow's inception-2015-12-05.tgz.
FILE = 'weights-inception-2015-12-05-6726825d.pth'
URL = f'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}'
SHA256 = '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2'


def find_inception(weights: str | Path | None = None) -> Path:
    """The file, downloaded if it is not here yet.

    Args:
        weights: The file, or the folder that holds it under its published name. By default it is looked for in
            `$TORCH_HOME/hub/checkpoints` (without TORCH_HOME in `~/.cache/torch/hub/checkpoints`), and downloaded to there.

    Raises:
        MissingWeightsError: It is not here and cannot be downloaded.
        UserError: What was downloaded is not the published file.
    """
    if weights is not None:
        path = Path(weights).expanduser()
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise MissingWeightsError(f'InceptionV3: {path} does not exist; {FILE} is at {URL}.')
        return path
    path = Path(torch.hub.get_dir(), 'checkpoints', FILE)
    if not path.is_file():
        download(path)
    return path


def download(path: Path) -> None:
    """Fetch the file, once for all processes of this machine; nothing is left behind unless it is whole and checked."""
    try:
        urllib.request.urlopen(urllib.request.Request(URL, method='HEAD'), timeout=CONNECT_TIMEOUT).close()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{path}.lock'):
            if not path.is_file():  # else another process was faster
                torch.hub.download_url_to_file(URL, str(path), SHA256, progress=sys.stderr.isatty())
    except (OSError, HTTPException) as error:
        raise MissingWeightsError(
            f'InceptionV3: {FILE} is not in {path.parent}, and downloading {URL} failed ({error}); put the file there, or '
            'under hub/checkpoints of a folder that TORCH_HOME names, or give its path as `weights`.'
        ) from error
    except RuntimeError as error:  # how torch.hub says that the hash is wrong
        raise UserError(f'InceptionV3: what came from {URL} is not the published file: {error}; try again.') from error


def read_inception(path: Path) -> dict[str, Tensor]:
    """The weights of the published file. Nothing is unpickled before the hash is checked, and then only tensors."""
    with path.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    if digest != SHA256:
        raise UserError(
            f'InceptionV3: the sha256 of {path} is {digest[:16]}..., that of {FILE} is {SHA256[:16]}...; it is broken or '
            f'another file. Fetch {URL} again.'
        )
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f'InceptionV3: {path} cannot be read: {" ".join(str(error).split())[:200]}') from error
