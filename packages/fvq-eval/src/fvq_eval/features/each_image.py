"""A network on one image at a time, so that nothing beside the image decides on a bit of what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

Made = TypeVar('Made')


@contextmanager
def one_thread() -> Iterator[None]:
    """What torch computes on the CPU inside, it computes on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def each_image(network: Callable[[Tensor], Made], images_BCHW: Tensor) -> list[Made]:
    """What a network makes of each image on a CPU, as a batch of one.

    The order in which a convolution sums depends on the number of threads that share it, and moves a distance by 1e-6 of
    itself. So an image has one thread, and as many images as torch has threads are computed side by side, which is no
    slower than all threads on one image after the other.
    """
    threads = min(torch.get_num_threads(), len(images_BCHW))
    with one_thread():
        if threads <= 1:
            return [network(image) for image in images_BCHW.split(1)]
        with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
            return list(pool.map(torch.no_grad()(network), images_BCHW.split(1)))  # no_grad is of a thread
