"""The codes of a data set, made once for a generator to train on: LlamaGen's ten crops, in one store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.dist import get_dist_info

from fvq_core.autoencoder import Autoencoder
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.tar_shards import TarShards
from fvq_core.errors import UserError
from fvq_core.progress import Progress
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.load_task import load_task

from ..codes_store import CodesWriter, Manifest, read_manifest
from ..fingerprint import tokenizer_hash
from .images import PhotoParts, source_digest
from .multi_crop import ImageWindows, MultiCrop
from .shard_reader import ShardReader

PRECISIONS = ('float32', 'bfloat16')


def load_tokenizer(source: str, weights: Literal['ema', 'raw'] | None = None) -> Autoencoder:
    """The tokenizer of a checkpoint `iter_N.pth`, of a folder, or of a repository on the hub; folded, in eval mode.

    Args:
        source: Its path or name.
        weights: Weights of a checkpoint, the moving average or the weights as trained; see `load_task`.
    """
    if not source.endswith('.pth'):
        if weights is not None:
            raise UserError(f'--weights is for checkpoints; {source} holds one set of weights.')
        return Autoencoder.from_pretrained(source).fold()
    task = load_task(read_checkpoint(source), source, weights=weights)
    if not isinstance(getattr(task, 'tokenizer', None), Autoencoder):
        raise UserError(f'{source} is a checkpoint of a {type(task).__name__}, which trains no tokenizer.')
    return task.tokenizer.eval().fold()


def extract_codes(
    tokenizer: Autoencoder,
    images: ImageFolder | TarShards | PhotoParts,
    out: str | Path,
    multi_crop: MultiCrop,
    *,
    names: dict[str, str],
    device: torch.device | str = 'cpu',
    batch_size: int = 64,
    num_workers: int = 0,
    shard_size: int | None = None,
    precision: str = 'float32',
    max_unreadable: float = 0.1,
    seed: int = 0,
    unquantized: bool = False,
    log: Callable[[str], Any] = print,
) -> Manifest:
    """Encode every crop of every image into a store, or continue where an earlier call was stopped.

    Called by each process of a run; shards are dealt out, and the store is the same for any number of processes.

    Args:
        tokenizer: Folded.
        images: The images.
        out: Folder of the store.
        multi_crop: The crops of each image.
        names: `tokenizer` and `source` in words, for the manifest.
        device: Device of the encoder.
        batch_size: Crops encoded at once.
        num_workers: Processes that read and crop images.
        shard_size: Images of a shard; by default 16 to 1,024.
        precision: Precision of the encoder, `'float32'` or `'bfloat16'`.
        max_unreadable: Largest tolerated share of images that cannot be read.
        seed: Seed of random crops.
        unquantized: Store the latents of a tokenizer of codes as they are before it quantizes them, for latent diffusion.
        log: Takes lines of progress.

    Returns:
        The manifest of the complete store.

    Raises:
        UserError: See `CodesWriter`; crops of a size that the tokenizer cannot take; codes that depend on their batch; too
            many unreadable images.
    """
    if min(batch_size, 1 if shard_size is None else shard_size) < 1 or num_workers < 0 or not 0 <= max_unreadable <= 1:
        raise UserError(
            f'extract_codes: batch size {batch_size} and shard size {shard_size} must be 1 or more, workers {num_workers} 0 '
            f'or more, max_unreadable {max_unreadable} a share from 0 to 1.'
        )
    if precision not in PRECISIONS:
        raise UserError(f'extract_codes: precision must be one of {", ".join(PRECISIONS)}, got {precision!r}.')
    tokenizer = tokenizer.to(device).eval()
    if next(tokenizer.parameters(), None) is None:
        raise UserError(
            f'extract_codes: the latents of a {type(tokenizer).__name__} are the pixels; train on the images, with '
            f"model.tokenizer = dict(type='{type(tokenizer).__name__}')."
        )
    if tokenizer.quantizer is not None and not unquantized and tokenizer.quantizer.depends_on_batch:
        raise UserError(
            "extract_codes: this tokenizer's codes of an image depend on its batch, and a store must be the same however it "
            'is made; make the tokenizer again without transport at inference.'
        )
    crops = multi_crop.to_dict()
    plan = Manifest(
        layout=(tokenizer.latent_layout if unquantized else tokenizer.layout)(crops['size'], crops['size']),
        tokenizer_hash=tokenizer_hash(tokenizer),
        tokenizer=names['tokenizer'],
        crops=dict(crops, exif_orientation=images.exif_orientation),
        precision=precision,
        seed=seed,
        source=names['source'],
        source_images=len(images),
        source_digest=source_digest(images),
        # At most 1,024 images, so that little is lost with a process, and few if there are few images.
        shard_size=shard_size or max(16, min(1024, -(-len(images) // 256))),
        moments=tokenizer.variational,
    )
    writer, (rank, world_size) = CodesWriter(out, plan), get_dist_info()
    try:
        pending, own = writer.open_together()
        done = plan.number_of_shards - len(pending)
        if done and rank == 0:
            log(f'{out}: {done:,} of {plan.number_of_shards:,} shards already done')
        reader = ShardReader(ImageWindows(images, multi_crop, seed), plan, max_unreadable, batch_size, num_workers)
        total = sum(len(plan.shard_images(shard)) for shard in own)
        with Progress('extracting', total, rank, world_size, log) as progress:
            for shard, numbers, codes_NAL in reader.read(own, tokenizer, precision, progress.advance):
                writer.write(shard, codes_NAL, numbers, [images.label(number) for number in numbers])
        if rank == 0 and not read_manifest(out).complete:
            writer.wait()
            writer.finish(images.name, max_unreadable)
        writer.wait_complete()
        nameless = int((np.asarray(images.labels) < 0).sum())
        if nameless and rank == 0:
            which = 'its images have no classes' if nameless == len(images) else f'{nameless:,} images have no class'
            log(
                f'{out}: {which} (label -1), so no class-conditional generator can train on it; put the images into a folder a '
                'class (in tars: .cls members, or --tar-labels shard) and extract again for one'
            )
        return read_manifest(out)
    finally:
        writer.close()
