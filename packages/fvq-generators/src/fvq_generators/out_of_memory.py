"""What to tell someone whose batch was too large."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from fvq_core.errors import UserError

USABLE = 0.8  # share of the free memory that a cache may take; a step needs some for itself


@contextmanager
def memory_advice(
    batch: int,
    device: torch.device,
    bytes_per_image: int = 0,
    release: Callable[[], None] | None = None,
    doing: str = 'sampling',
) -> Iterator[None]:
    """Around work on a batch: if memory runs out, the error names a batch that fits.

    Args:
        batch: Images at once.
        device: The device of the work.
        bytes_per_image: What a cache keeps of each; 0 if there is none.
        release: Lets go of memory that outlives the work.
        doing: The work, for the message.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and 'DefaultCPUAllocator' not in str(error):
            raise
        # Frames of the failed work still hold its tensors, and the memory that is free is about to be read.
        traceback.clear_frames(error.__traceback__)
        if release is not None:
            release()
        cache = f', their cache is {bytes_per_image / 2**20:.0f} MiB an image' if bytes_per_image else ''
        raise UserError(
            f'{doing} {batch} images at once needs more memory than there is ({str(error).splitlines()[0]}); about '
            f'{batch_that_fits(batch, bytes_per_image, device)} should fit{cache}.'
        ) from error


def batch_that_fits(batch: int, bytes_per_image: int, device: torch.device) -> int:
    """Half of the batch, or what the memory that is free now holds if that is less."""
    half = max(1, batch // 2)
    if device.type != 'cuda':
        return half
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return min(half, max(1, int(USABLE * free / max(1, bytes_per_image))))
