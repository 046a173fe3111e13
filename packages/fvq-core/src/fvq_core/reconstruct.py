"""Reconstructions of image files."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .data.decoding import UnreadableImageError, decode, read_file
from .data.sample import to_tensor
from .errors import UserError
from .files.paths import expand_home, printable
from .images import from_uint8, to_uint8
from .ops.distributed import choose_device
from .registry import METRICS
from .tokenizer import Tokenizer

SMALLEST = 11  # pixels of a side: the window of SSIM


def open_image(path: str | Path, multiple: int, max_side: int) -> Image.Image:
    """An image as RGB, shrunk to `max_side` if larger, centre-cropped so that its sides are multiples of `multiple`.

    Raises:
        UserError: The file is missing or no image, or too small for one code.
    """
    try:
        image = decode(read_file(path))
    except FileNotFoundError as error:
        raise UserError(f'{path} does not exist.') from error
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}.') from error
    except UnreadableImageError as error:
        raise UserError(f'{path} cannot be read as an image: {error}') from error
    if max(image.size) > max_side:
        image.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
    width, height = (side - side % multiple for side in image.size)
    if not width or not height:
        raise UserError(f'{path} is {image.width}x{image.height}, smaller than the {multiple} pixels of one code.')
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


@torch.no_grad()
def reconstruct_files(
    folder: str, paths: Sequence[str], out: str, max_side: int = 1024, device: str = 'auto'
) -> dict[str, dict[str, Any]]:
    """Write a side-by-side PNG of each image, `codes.npz` and `scores.json`.

    Args:
        folder: A saved tokenizer.
        paths: Image files; all are opened before anything is written.
        out: Folder to write to.
        max_side: Larger images are shrunk to this.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        For each file: `psnr` (dB), `ssim`, `codes` (count), `layout`, `picture`.
    """
    paths, out = [expand_home(path) for path in paths], expand_home(out)
    tokenizer = Tokenizer.from_pretrained(folder).to(choose_device(device))
    images = [open_image(path, tokenizer.downsample_factor, max_side) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if min(image.size) < SMALLEST:
            raise UserError(
                f'{path} is {image.width}x{image.height} once cropped; SSIM needs {SMALLEST} pixels on each side.'
            )
    if Path(out).is_file():
        raise UserError(f'--out {out} is a file; name a folder.')
    names = unique_names(paths)
    originals = {os.path.realpath(path) for path in paths}
    for name in names:
        if os.path.realpath(Path(out) / f'{name}.png') in originals:
            raise UserError(f'--out {out}: {name}.png there is one of the images; name another folder.')
    Path(out).mkdir(parents=True, exist_ok=True)
    scores, codes = {}, {}
    for path, name, image in zip(paths, names, images, strict=True):
        pixels = to_tensor(image).unsqueeze(0).to(next(tokenizer.parameters()).device)
        output = tokenizer(from_uint8(pixels))
        metrics = {}
        for metric in (METRICS.build(dict(type='PSNR')), METRICS.build(dict(type='SSIM'))):
            metric.reset(tokenizer)
            metric.update(from_uint8(pixels), output, tokenizer)
            metrics.update(metric.compute())
        pair = torch.cat([pixels, to_uint8(output.reconstruction)], dim=3)[0].permute(1, 2, 0).cpu().numpy()
        picture = Path(out) / f'{name}.png'
        Image.fromarray(pair).save(picture)
        codes[name] = output.codes.unflatten()[0].cpu().numpy()
        values = {key: metric.value for key, metric in metrics.items()}
        if not all(math.isfinite(value) for value in values.values()):
            raise UserError(f'{path}: the reconstruction is not finite; the tokenizer in {folder} is broken.')
        scores[str(path)] = {
            **values,
            'protocol': {key: metric.protocol for key, metric in metrics.items()},
            'weights': folder,
            'codes': int(codes[name].size),
            'layout': output.codes.layout.to_dict(),
            'picture': picture.name,
        }
    save_npz(Path(out) / 'codes.npz', codes)
    (Path(out) / 'scores.json').write_text(json.dumps(scores, indent=2) + '\n')
    return scores


def unique_names(paths: Sequence[str]) -> list[str]:
    """File stems, numbered if two files share one on a file system that ignores case."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = printable(Path(path).stem)
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f'{stem}_{number}'
        taken.add(name.casefold())
        names.append(name)
    return names


def save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz with any names; for `np.savez` they are Python keywords, of which `file` and `allow_pickle` are taken."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
