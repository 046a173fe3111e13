"""What `tools/reconstruct.py` does: reconstructions of image files with their codes and scores."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.data.sample import to_tensor
from fvq_core.errors import UserError
from fvq_core.files.json import write_json
from fvq_core.files.paths import expand_home, printable
from fvq_core.images import from_uint8, to_uint8
from fvq_core.metric import MetricValue
from fvq_core.ops.distributed import choose_device
from fvq_core.progress import Progress

from ..metrics import PSNR, SSIM
from ..samples.read_image import BUNDLED, read_image


@torch.no_grad()
def reconstruct_files(
    folder: str,
    paths: Sequence[str],
    out: str,
    max_side: int = 1024,
    device: str = 'auto',
    beside: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Write a side-by-side PNG of each image, `codes.npz` (`latents.npz` of a continuous autoencoder) and `scores.json`.

    Args:
        paths: Image files, or `bundled:NAME` for a bundled photo; all are opened before anything is written.
        max_side: Larger images are shrunk to this.
        beside: More tokenizers, whose reconstructions stand to the right.

    Returns:
        For each file: `psnr` (dB), `ssim`, `codes` or `latents` (how many numbers), `layout`, `picture`, and `beside` with the
        scores of the other tokenizers.
    """
    paths, out = [expand_home(path) for path in paths], expand_home(out)
    tokenizer = Autoencoder.from_pretrained(folder).to(choose_device(device))
    others = {other: Autoencoder.from_pretrained(other).to(choose_device(device)) for other in beside}
    multiple = math.lcm(*(each.downsample_factor for each in (tokenizer, *others.values())))
    images = [read_image(path, multiple, max_side) for path in paths]
    window = SSIM().smallest
    for path, image in zip(paths, images, strict=True):
        if min(image.size) < window:
            raise UserError(
                f'{path} is {image.width}x{image.height} once cropped; SSIM needs {window} pixels on each side.'
            )
    if Path(out).is_file():
        raise UserError(f'--out {out} is a file; name a folder.')
    names = unique_names([path.removeprefix(BUNDLED) for path in paths])
    originals = {os.path.realpath(path) for path in paths}
    for name in names:
        if os.path.realpath(Path(out) / f'{name}.png') in originals:
            raise UserError(f'--out {out}: {name}.png there is one of the images; name another folder.')
    Path(out).mkdir(parents=True, exist_ok=True)
    kind = 'latents' if tokenizer.quantizer is None else 'codes'
    scores, encoded = {}, {}
    for path, name, image in Progress.each(zip(paths, names, images, strict=True), 'reconstructing', len(paths)):
        pixels = to_tensor(image).unsqueeze(0).to(next(tokenizer.parameters()).device)
        outputs = {each: model(from_uint8(pixels)) for each, model in {folder: tokenizer, **others}.items()}
        scored = {each: score(tokenizer, from_uint8(pixels), output) for each, output in outputs.items()}
        for each, values in scored.items():
            if not all(math.isfinite(metric.value) for metric in values.values()):
                raise UserError(f'{path}: the reconstruction is not finite; the tokenizer in {each} is broken.')
        output, metrics = outputs[folder], scored[folder]
        columns = [pixels, *(to_uint8(each.reconstruction) for each in outputs.values())]
        picture = Path(out) / f'{name}.png'
        Image.fromarray(torch.cat(columns, dim=3)[0].permute(1, 2, 0).cpu().numpy()).save(picture)
        found = tokenizer.encode(from_uint8(pixels)).values if output.codes is None else output.codes.unflatten()
        encoded[name] = found[0].cpu().numpy()
        scores[str(path)] = {
            **{key: metric.value for key, metric in metrics.items()},
            'preset': next(iter(metrics.values())).preset,
            'protocol': {key: metric.protocol for key, metric in metrics.items()},
            'weights': folder,
            kind: int(encoded[name].size),
            'layout': tokenizer.layout(*pixels.shape[-2:]).to_dict(),
            'picture': picture.name,
        }
        if others:
            values = {each: {key: metric.value for key, metric in scored[each].items()} for each in others}
            scores[str(path)]['beside'] = values
    save_npz(Path(out) / f'{kind}.npz', encoded)
    write_json(Path(out) / 'scores.json', scores)
    return scores


def score(tokenizer: Autoencoder, images: Tensor, output: AutoencoderOutput) -> dict[str, MetricValue]:
    """PSNR and SSIM of a batch of reconstructions."""
    values: dict[str, MetricValue] = {}
    for metric in (PSNR(), SSIM()):
        metric.reset(tokenizer)
        metric.update(images, output, tokenizer)
        values |= metric.compute()
    return values


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
    """Write an npz with arrays of any name; in `np.savez` names are keywords, and `file` and `allow_pickle` are taken."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
