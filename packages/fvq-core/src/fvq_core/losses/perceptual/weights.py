"""The trained networks of perceptual losses: which files they are, where they are looked for, and how they are checked.

They are torchvision's ImageNet classifiers; their file names end with the first digits of their SHA-256.
"""

from __future__ import annotations

import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from ...errors import UserError
from ...files.hash import file_sha256
from ...files.torch_weights import CheckpointError, read_state_dict

DOWNLOADS = 'https://download.pytorch.org/models'
BACKBONES = {'vgg': 'vgg16-397923af.pth', 'alex': 'alexnet-owt-7be5be79.pth', 'squeeze': 'squeezenet1_1-b8a52dc0.pth'}
CONNECT_TIMEOUT = 10  # seconds, so that a machine without a network does not hang


class MissingWeightsError(UserError):
    """Trained weights are not on this machine and cannot be downloaded."""


def find_backbone(net: str, weights: str | Path | None = None) -> Path:
    """The file with the trained weights of a network, downloaded if it is not on this machine.

    Args:
        net: A key of `BACKBONES`.
        weights: The file, or the folder that holds it under its published name. By default it is looked for in
            `$TORCH_HOME/hub/checkpoints` (without TORCH_HOME in `~/.cache/torch/hub/checkpoints`), and downloaded to there.

    Raises:
        MissingWeightsError: It is not on this machine and cannot be downloaded.
        UserError: The download is not the published file.
    """
    return find_published('LPIPS', f'{DOWNLOADS}/{BACKBONES[net]}', weights)


def find_published(owner: str, url: str, weights: str | Path | None = None) -> Path:
    """`find_backbone` for the file at any address; the file's name ends with the first digits of its SHA-256.

    Args:
        owner: The network that needs it, for messages.
        url: The address.
        weights: See `find_backbone`.
    """
    name = url.rpartition('/')[2]
    if weights is not None:
        path = Path(weights).expanduser()
        path = path / name if path.is_dir() else path
        if not path.is_file():
            raise MissingWeightsError(f'{owner}: {path} does not exist; {name} is at {url}.')
        return path
    path = Path(torch.hub.get_dir(), 'checkpoints', name)
    if not path.is_file():
        download(owner, url, path)
    return path


def download(owner: str, url: str, path: Path) -> None:
    """Fetch a file, once for all processes of this machine; only a complete and checked file is left behind."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=CONNECT_TIMEOUT).close()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{path}.lock'):
            if path.is_file():  # another process was faster
                return
            torch.hub.download_url_to_file(url, str(path), published_hash(path.name), progress=sys.stderr.isatty())
    except (OSError, HTTPException) as error:
        raise MissingWeightsError(
            f'{owner}: {path.name} is not in {path.parent}, and downloading {url} failed ({error}); put the file there, '
            'or under hub/checkpoints in the folder TORCH_HOME, or give its path as `weights`.'
        ) from error
    except RuntimeError as error:  # torch.hub's error for a wrong hash
        raise UserError(f'{owner}: the download from {url} is not the published file: {error}; try again.') from error


def read_backbone(path: Path, net: str, check_hash: bool = True) -> tuple[dict[str, Tensor], str]:
    """The weights in a file, and the file in words, for numbers measured with them.

    See `read_published`.
    """
    return read_published('LPIPS', path, BACKBONES[net], check_hash)


def read_published(owner: str, path: Path, name: str, check_hash: bool = True) -> tuple[dict[str, Tensor], str]:
    """The weights in a file, and the file in words, for numbers measured with them.

    Args:
        owner: The network that needs it, for messages.
        name: Of the published file, which ends with the first digits of its SHA-256.
        check_hash: Refuse files other than the published one.

    Raises:
        UserError: Not the published file, or one without a state dict. The hash is checked before anything is loaded.
    """
    digest = file_sha256(path)
    published = digest.startswith(published_hash(name))
    if check_hash and not published:
        raise UserError(
            f'{owner}: the SHA-256 of {path} starts with {digest[:8]}, that of {name} with {published_hash(name)}; it is '
            f'broken or another file. Fetch {DOWNLOADS}/{name} again, or accept it with check_hash=False.'
        )
    state = load_tensors(path)
    if published:
        return state, f'{name}, sha256 checked'
    return state, f'{path.name}, sha256 {digest[:8]}: not the published {name}'


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, by `read_state_dict`: no code in the file is run.

    Raises:
        UserError: There is no such file, or it holds none.
    """
    try:
        return read_state_dict(path)
    except CheckpointError as error:
        raise UserError(
            f'{path}: expected a state dict of tensors, got none that can be read ({error}); fetch it again, or save '
            'module.state_dict().'
        ) from error


def published_hash(name: str) -> str:
    """The first digits of a file's SHA-256, which its name carries: `vgg16-397923af.pth` -> `397923af`."""
    return Path(name).stem.rsplit('-', 1)[1]
