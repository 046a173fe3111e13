"""Tokenizers and images whose latents are drawn: from a checkpoint, a work dir or a saved tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fvq_core.config.data import build_data
from fvq_core.data.loader import build_loader
from fvq_core.data.photos import BundledPhotos
from fvq_core.data.sample import to_tensor
from fvq_core.errors import UserError
from fvq_core.images import device_images, from_uint8
from fvq_core.quantizer import to_vectors
from fvq_core.registry import plain
from fvq_core.saving.kind import CONFIG_NAME
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.checkpoint import list_checkpoints, read_checkpoint
from fvq_core.training.load_task import checkpoint_config, load_task

from ..samples.read_image import read_image

# The images of a tokenizer that was saved without its data.
PHOTOS = plain(dict(batch_size=16, dataset=dict(type=BundledPhotos, split='eval', crop_size=64, crops=4096)))


def load_source(
    path: str, weights: Literal['ema', 'raw'] | None = None
) -> tuple[Tokenizer, Mapping[str, Any] | None, str]:
    """A tokenizer in eval mode on the CPU, the loader config of its evaluation images, and what it is called.

    Args:
        path: An `iter_N.pth`, a work dir (its newest checkpoint counts), or a folder of a saved tokenizer.
        weights: See `load_task`.

    Raises:
        UserError: There is no tokenizer there.
    """
    source = Path(path)
    if (source / CONFIG_NAME).exists():
        return Tokenizer.from_pretrained(source), PHOTOS, source.resolve().name
    if source.is_dir():
        checkpoints = list_checkpoints(source)
        if not checkpoints:
            raise UserError(f'{path} holds neither an iter_N.pth nor a saved tokenizer; name a checkpoint.')
        source = checkpoints[0]
    checkpoint = read_checkpoint(source)
    task = load_task(checkpoint, str(source), weights=weights)
    cfg = checkpoint_config(checkpoint, str(source))
    return (
        task.tokenizer.eval(),
        cfg.get('val_dataloader'),
        f'{source.resolve().parent.name}/{source.stem}{task.weights_note}',
    )


def image_batches(
    loader: Mapping[str, Any] | None, files: Sequence[str], limit: int, multiple: int
) -> Iterator[Tensor]:
    """Batches of images (B, 3, H, W) in [-1, 1]: of the files if any are named, else the first of a loader's data.

    Args:
        files: Images of any size; each is a batch of its own.
        multiple: Sides of the files are cropped to multiples of it.
    """
    if files:
        for path in files:
            yield from_uint8(to_tensor(read_image(path, multiple, 1024)).unsqueeze(0))
        return
    if not loader:
        raise UserError('the checkpoint has no evaluation data; name images with --images.')
    seen = 0

    def build(described: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        return iter(build_loader({**described, 'num_workers': 0}, 0, train=False))

    for batch in build_data(build, loader, 'the evaluation data of the checkpoint'):
        if batch['error']:
            raise UserError(batch['error'])
        if batch['images'] is None:
            continue
        images = device_images(batch, 'cpu')[: limit - seen]
        seen += len(images)
        yield images
        if seen >= limit:
            return
    if not seen:
        raise UserError('the evaluation set has no readable image; name some with --images.')


@torch.no_grad()
def latents_and_counts(tokenizer: Tokenizer, batches: Iterator[Tensor]) -> tuple[Tensor, Tensor, int]:
    """All latents (N, D) as the quantizer compares them, how often each row of the codebook is chosen (K,), and images."""
    quantizer = tokenizer.require_quantizer('a map of codes')
    histogram_K = torch.zeros(len(quantizer.codebook()), dtype=torch.int64)
    latents, images = [], 0
    for images_BCHW in batches:
        out = quantizer(tokenizer.encode_latent(images_BCHW))
        if out.z_BDHW is None:
            name = type(quantizer).__name__
            raise UserError(f'{name} compares no latents with codes; there is nothing to draw.')
        latents.append(to_vectors(out.z_BDHW))
        histogram_K += torch.bincount(quantizer.codebook_indices(out.codes).flatten(), minlength=len(histogram_K))
        images += len(images_BCHW)
    return torch.cat(latents), histogram_K, images
