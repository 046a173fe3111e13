"""The same random images as a folder, an npz and a tar."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def random_pixels(count: int, side: int = 16, seed: int = 0, level: int = 256) -> np.ndarray:
    """uint8 (N, side, side, 3), smooth enough to differ between seeds in more than noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, level, (count, side // 4, side // 4, 3))
    fine = rng.integers(-20, 21, (count, side, side, 3))
    return np.clip(coarse.repeat(4, 1).repeat(4, 2) + fine, 0, 255).astype(np.uint8)


def save_folder(pixels: np.ndarray, folder: Path, labels: np.ndarray | None = None) -> str:
    """PNG files, in class folders where there are labels; the order of names is the order of images within a class."""
    for number, image in enumerate(pixels):
        inside = folder if labels is None else folder / f'class_{labels[number]}'
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(inside / f'{number:06d}.png')
    return str(folder)


def save_tar(pixels: np.ndarray, path: Path, folder: Path) -> str:
    """A tar of the files that `save_folder` writes into `folder`."""
    save_folder(pixels, folder)
    with tarfile.open(path, 'w') as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    return str(path)


def save_zip(path: Path, folder: Path, inside: str = '') -> str:
    """A zip of the files below a folder, in no good order, maybe in a folder `inside`."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob('*.png'), reverse=True):
            archive.write(file, inside + str(file.relative_to(folder)))
    return str(path)


def save_npz(pixels: np.ndarray, path: Path, labels: np.ndarray | None = None, compressed: bool = False) -> str:
    """ADM's layout."""
    arrays = {'arr_0': pixels} if labels is None else {'arr_0': pixels, 'arr_1': labels}
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return str(path)
