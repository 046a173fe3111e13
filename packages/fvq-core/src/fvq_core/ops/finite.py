"""Checks that keep NaN and infinity out of codes, files and scores."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from ..errors import NonFiniteError


def all_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite; waits for the device."""
    if not tensor.numel():
        return True
    values = tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()
    if values.dtype.itemsize == 1:  # float8 has no minimum
        values = values.float()
    return bool(torch.stack(values.aminmax()).isfinite().all())  # a tenth of the time of `isfinite`


def can_sync(tensor: Tensor, wait: bool = True) -> bool:
    """Whether values can be read here: not while a graph is traced or recorded, and off the CPU only if the caller
    may wait.

    Args:
        tensor: The tensor.
        wait: Whether the caller may wait for the device.
    """
    if torch.compiler.is_compiling() or tensor.is_meta:
        return False
    if tensor.device.type == 'cpu':
        return True
    return wait and not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


class DeferredChecks:
    """What checks on a device have found, in order: copied to the CPU without waiting, and judged once it is there."""

    def __init__(self) -> None:
        self.pending: deque[tuple[torch.cuda.Event, Tensor, Callable[[Tensor], None]]] = deque()

    def add(self, evidence: Tensor, judge: Callable[[Tensor], None]) -> None:
        """Queue a copy of `evidence` behind what made it, and judge copies that have arrived."""
        event, copy = torch.cuda.Event(), evidence.detach().to('cpu', non_blocking=True)  # in pinned memory
        event.record(torch.cuda.current_stream(evidence.device))
        self.pending.append((event, copy, judge))
        while self.pending and self.pending[0][0].query():
            self.judge_first()

    def judge_first(self) -> None:
        _, copy, judge = self.pending.popleft()
        try:
            judge(copy)
        except Exception:
            self.pending.clear()  # the first error is the one that counts
            raise

    def finish(self) -> None:
        """Wait for the device, and judge what is left."""
        while self.pending:
            self.pending[0][0].synchronize()
            self.judge_first()


DEFERRED: ContextVar[DeferredChecks | None] = ContextVar('DEFERRED', default=None)


@contextmanager
def deferred_checks(finish: bool = True) -> Iterator[DeferredChecks]:
    """Inside, checks on a CUDA device do not wait: their errors come a few batches late, at the latest at the end.

    Elsewhere they raise at once. The first check that fails raises, also in place of another error that came after it.

    Args:
        finish: Wait at the end; otherwise the caller calls `finish` of what this gives.
    """
    checks = DeferredChecks()
    token = DEFERRED.set(checks)
    try:
        yield checks
    except Exception:
        checks.finish()
        raise
    finally:
        DEFERRED.reset(token)
    if finish:
        checks.finish()


def judge_evidence(evidence: Tensor, judge: Callable[[Tensor], None]) -> None:
    """Call `judge`, which raises if something is wrong, with a small tensor on the CPU: later inside `deferred_checks`.

    Args:
        evidence: Such as which images are broken; the error is made of nothing else.
        judge: It may read values.
    """
    checks = DEFERRED.get()
    if checks is not None and evidence.is_cuda:
        checks.add(evidence, judge)
    else:
        judge(evidence.cpu())


def is_deferred(tensor: Tensor) -> bool:
    """Whether `judge_evidence` would judge it later."""
    return DEFERRED.get() is not None and tensor.is_cuda


def check_finite_images(values: Tensor, what: str, images: int, cause: str) -> None:
    """Raise if a value that belongs to a batch of images is not finite; see `deferred_checks`.

    Args:
        values: Values in the order of the images, equally many for each.
        what: What the values are, for the message.
        images: Number of images, B.
        cause: The last part of the message.

    Raises:
        NonFiniteError: Naming the first such image of the batch.
    """

    def judge(broken_B: Tensor) -> None:
        if broken_B.any():
            first, count = int(broken_B.nonzero()[0]), int(broken_B.sum())
            raise NonFiniteError(
                f'{what} of image {first} are not finite ({count} of {images} images in this batch); {cause}.'
            )

    if is_deferred(values) or not all_finite(values):
        judge_evidence(~values.detach().isfinite().reshape(images, -1).all(1), judge)


def check_finite_weights(weights: Mapping[str, Any], source: str) -> None:
    """Raise if a weight is not finite.

    Args:
        weights: A state dict; only floating-point tensors are checked.
        source: What holds them, for the message.

    Raises:
        NonFiniteError: Naming the first such tensor.
    """
    for name, value in weights.items():
        if isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta and not all_finite(value):
            count = int((~value.to_dense().float().isfinite()).sum())
            raise NonFiniteError(
                f"{source}: '{name}' is not finite: {count} of its {value.numel()} numbers are NaN or infinite; the run "
                'diverged or the file is damaged. Use an earlier checkpoint, or load the file again.'
            )


def warn_of_weights(weights: Mapping[str, Any], folder: Any) -> None:
    """Warn if weights that are saved are not finite; `check_finite_weights` will refuse them when they are loaded."""
    try:
        check_finite_weights(weights, str(folder))
    except NonFiniteError as error:
        warnings.warn(f'{error} It is saved all the same, and refused when it is loaded.', stacklevel=4)


def first_non_finite(
    logged: Sequence[tuple[int, Mapping[str, Tensor]]],
) -> tuple[int, dict[str, float], list[str]] | None:
    """The first iteration with a value that is NaN or infinite, its values, and the names of those; waits for the device once.

    Args:
        logged: Iterations with scalars by name.
    """
    if not logged:
        return None
    read = [(iteration, list(terms), torch.stack([*terms.values()])) for iteration, terms in logged]
    finite = torch.stack([values.isfinite().all() for _, _, values in read]).tolist()
    if all(finite):
        return None
    iteration, names, values = read[finite.index(False)]
    terms = dict(zip(names, values.tolist(), strict=True))
    return iteration, terms, [name for name, value in terms.items() if not math.isfinite(value)]
