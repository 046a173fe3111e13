"""Codebooks of image features: k-means centres of patch features over a data set (VQGAN-LC, section 3.2)."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fvq_core import __version__
from fvq_core.data.loader import build_loader
from fvq_core.data.sample import UnreadableImages
from fvq_core.errors import UserError
from fvq_core.files.atomic import staged
from fvq_core.images import device_images
from fvq_core.ops.distributed import choose_device
from fvq_core.ops.kmeans import kmeans
from fvq_core.progress import Progress

from .patch_features import PatchFeatures

KEY = 'codebook'


def make_codebook(
    out: str | Path,
    dataset: Mapping[str, Any],
    features: PatchFeatures,
    codebook_size: int,
    facts: Mapping[str, str],
    vectors_per_code: int = 64,
    iterations: int = 20,
    seed: int = 0,
    device: str = 'auto',
    batch_size: int = 64,
    num_workers: int = 0,
) -> dict[str, str]:
    """Extract features, cluster them and write the centres, with progress bars; returns the metadata.

    The vectors to cluster are kept in a temporary file next to `out`, so that memory holds only codebook, sums and chunks.
    The same number of patches is drawn from every image.

    Args:
        out: The .safetensors file to write: `codebook` (K, channels) float32, with metadata.
        dataset: Config of an image data set whose transforms give square images of `features.image_size`.
        facts: Metadata besides the numbers of this run.
        vectors_per_code: Vectors to cluster per code, if the images have that many.
        iterations: Most iterations of Lloyd's algorithm; it stops when the inertia falls by less than 1e-4 of itself.
        seed: Seed of the drawn patches and of k-means.
        device: `'auto'`, `'cpu'` or `'cuda'`.

    Raises:
        UserError: `out` exists or is not a .safetensors file, too few patches for the codes, or too little disk space.
    """
    out = Path(out)
    if out.suffix != '.safetensors' or out.exists():
        raise UserError(f'{out} exists or is not a .safetensors file; choose another name.')
    if codebook_size < 1 or vectors_per_code < 1:
        raise UserError(
            f'codebook_size and vectors_per_code must be 1 or more, got {codebook_size} and {vectors_per_code}.'
        )
    where = choose_device(device)
    loader_cfg = dict(dataset=dict(dataset), batch_size=batch_size, num_workers=num_workers)
    loader = build_loader(loader_cfg, seed, train=False)
    images = len(cast(Sized, loader.dataset))
    features = features.to(where)
    probe_BPD = features(torch.zeros(1, 3, features.image_size, features.image_size, device=where))
    patches, dim = probe_BPD.shape[1:]
    wanted = min(images * patches, codebook_size * vectors_per_code)
    if wanted < codebook_size:
        raise UserError(
            f'{images} images of {patches} patches give {wanted} vectors for {codebook_size} codes; add images or request '
            'fewer codes.'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(out.parent).free, wanted * dim * 4
    if needed > free:
        raise UserError(
            f'{wanted} vectors of {dim} channels need {needed / 1e9:.1f} GB in {out.parent}, which has {free / 1e9:.1f}; '
            'lower vectors_per_code or write elsewhere.'
        )
    with tempfile.TemporaryDirectory(dir=out.parent, prefix='.features-') as folder:
        vectors_ND = np.memmap(Path(folder, 'vectors'), np.float32, 'w+', shape=(wanted, dim))
        filled = 0
        for drawn_ND in draw_vectors(loader, features, wanted, images, seed):
            vectors_ND[filled : filled + len(drawn_ND)] = drawn_ND.numpy()
            filled += len(drawn_ND)
        with Progress('k-means', (iterations + 1) * filled, unit='vector') as bar:
            found = kmeans(
                torch.from_numpy(vectors_ND[:filled]), codebook_size, iterations, seed, where, 1e-4, bar.advance
            )
        del vectors_ND
    unused = int((found.counts_K == 0).sum())
    numbers = dict(codebook_size=codebook_size, images=images, vectors=filled, seed=seed)
    numbers |= dict(iterations=found.iterations, inertia=found.inertia, unused=unused)
    metadata = {**facts, **{name: str(value) for name, value in numbers.items()}, 'fvq_version': __version__}
    with staged(out, 'Nothing was written.') as staging:
        save_file({KEY: found.centres_KD.cpu().contiguous()}, staging, metadata)
    return metadata


def draw_vectors(loader: Any, features: PatchFeatures, wanted: int, images: int, seed: int) -> Iterator[Tensor]:
    """Features of random patches, image by image, (n, D); `wanted` in total if every image can be read."""
    generator = torch.Generator().manual_seed(seed)
    unreadable = UnreadableImages(images, 0.1, logging.getLogger('fvq'))
    device, number = features.mean.device, 0
    with Progress('features', images) as bar:
        for batch in loader:
            if not unreadable.check(batch):
                continue
            for image_PD in features(device_images(batch, device)).cpu():
                share = (number + 1) * wanted // images - number * wanted // images
                yield image_PD[torch.randperm(len(image_PD), generator=generator)[:share]].float()
                number += 1
            bar.advance(len(batch['labels']))
