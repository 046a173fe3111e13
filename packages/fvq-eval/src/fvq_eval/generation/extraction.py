"""Statistics of an image set: checked, hashed, cached, extracted by all ranks, and resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_dist_info
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops.finite import deferred_checks
from fvq_core.ops.ranks import sum_or_raise
from fvq_core.progress import Progress

from ..features.feature_extractor import FeatureExtractor
from ..samples import BLOCK, Samples
from ..samples.samples import content_hash
from ..statistics.cache import StatisticsCache
from ..statistics.image_set import ImageSetStatistics
from .interrupts import interrupt_later
from .statistics_checkpoint import SAVE_EVERY, StatisticsCheckpoint, remedy


class StatisticsExtraction:
    """Extracts statistics of image sets.

    Args:
        extractor: On its device.
        preparation: The preset and its preprocessing, in words; cached statistics are used only if they match.
        kept: Features that are kept of every image, for scores that need more than moments.
        batch_size: Images that the network sees at a time; it changes no printed digit.
        folder: Folder of finished and unfinished statistics; None to keep none.
        log: Called with a line whenever results of an earlier run are used.
        save_every: Seconds between saves of unfinished statistics; see `StatisticsCheckpoint`.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        preparation: str,
        kept: Collection[str] = (),
        batch_size: int = 64,
        folder: Path | None = None,
        log: Callable[[str], Any] = print,
        save_every: float = SAVE_EVERY,
    ) -> None:
        check_batch_size(batch_size)
        self.extractor, self.preparation = extractor, preparation
        self.kept = [name for name in extractor.sizes if name in kept]
        self.batch_size, self.folder, self.log, self.save_every = batch_size, folder, log, save_every
        self.cache = None if folder is None else StatisticsCache(folder)

    def run(self, samples: Samples) -> tuple[ImageSetStatistics | None, str]:
        """Statistics of a set, on the main process (None on others), and the set's content hash.

        Raises:
            UserError: An image that cannot be scored; what was done before it is kept for the next start.
        """
        rank, ranks = get_dist_info()
        own = range(rank, samples.blocks, ranks)
        digests, error = self.digests(samples, own)
        shares: list[tuple[list[str], int]] = all_gather_object((digests, samples.converted))
        sum_or_raise((), error)
        blocks = [shares[block % ranks][0][block // ranks] for block in range(samples.blocks)]
        samples.check_whole(blocks)
        hashed = content_hash(blocks)
        samples.converted = sum(converted for _, converted in shares)
        found = self.find_cached(samples, hashed) if rank == 0 else None
        if any(all_gather_object(found is not None)):
            return found, hashed
        statistics = ImageSetStatistics(self.extractor, self.kept)
        checkpoint = self.checkpoint(samples, statistics)
        error = self.extract(samples, own, digests, statistics, checkpoint)
        try:
            sum_or_raise((), error)
        except UserError:
            if error is None and checkpoint is not None and own:
                checkpoint.save(statistics, digests)  # the error is another process's
            raise
        statistics.reduce()
        if rank == 0 and self.cache is not None:
            try:
                self.cache.put(hashed, self.preparation, statistics)
            except UserError as error:  # a full disk must not cost the numbers
                self.log(f'{samples.path}: statistics not cached; {remedy(self.folder)}. {error}')
        if checkpoint is not None:
            checkpoint.delete()
        return statistics if rank == 0 else None, hashed

    def digests(self, samples: Samples, own: Sequence[int]) -> tuple[list[str], UserError | None]:
        """Check and hash this rank's blocks, up to the first that cannot be scored."""
        found = []
        with self.bar(samples, own, 0, f'checking {samples.path}') as bar:
            try:
                for block, digest in zip(own, samples.digests(own), strict=True):
                    found.append(digest)
                    bar.advance(len(samples.numbers(block)))
            except UserError as error:
                return found, error
        return found, None

    def find_cached(self, samples: Samples, hashed: str) -> ImageSetStatistics | None:
        """Cached statistics of exactly these images, if they have all features that are kept now."""
        found = None if self.cache is None else self.cache.find(hashed, self.preparation, self.extractor.fingerprint)
        if found is None or self.cache is None or not set(self.kept) <= set(found.kept):
            return None
        path = self.cache.path(hashed, self.preparation, self.extractor.fingerprint)
        self.log(f'{samples.path}: using cached statistics of the same images (sha256 {hashed[:12]}) from {path}')
        return found

    def extract(
        self,
        samples: Samples,
        own: Sequence[int],
        digests: Sequence[str],
        statistics: ImageSetStatistics,
        checkpoint: StatisticsCheckpoint | None,
    ) -> UserError | None:
        """Add this rank's blocks up to the first that cannot be read; what is done before that, or before Ctrl-C, is saved.

        Blocks are read and copied while the device computes on those before: features are checked a little later, and before
        anything is saved.
        """
        done = 0 if checkpoint is None else checkpoint.restore(statistics, digests)
        if done and get_dist_info()[0] == 0:
            images = sum(len(samples.numbers(block)) for block in own[:done])
            self.log(f'{samples.path}: reusing the features of {images:,} images from an earlier, unfinished run')
        step = max(1, self.batch_size // BLOCK)
        bar = self.bar(samples, own, done, f'features of {samples.path}')
        with bar, interrupt_later() as interrupted, deferred_checks(finish=False) as checks:
            blocks = samples.read(own[done:])
            for first in range(done, len(own), step):
                group = own[first : first + step]
                try:
                    pixels_BCHW = torch.cat(list(islice(blocks, len(group))))
                except UserError as error:
                    checks.finish()
                    if checkpoint is not None and done:
                        checkpoint.save(statistics, digests[:done])
                    return error
                numbers_B = torch.tensor([number for block in group for number in samples.numbers(block)])
                self.update(statistics, pixels_BCHW, numbers_B)
                done = first + len(group)
                bar.advance(len(numbers_B))
                if checkpoint is not None and (interrupted() or (done < len(own) and checkpoint.due())):
                    checks.finish()
                    checkpoint.save(statistics, digests[:done])
                if interrupted():
                    raise KeyboardInterrupt
            checks.finish()
        return None

    def update(self, statistics: ImageSetStatistics, pixels_BCHW: Tensor, numbers_B: Tensor) -> None:
        """Add images to statistics."""
        weights = [*self.extractor.parameters(), *self.extractor.buffers()]
        device = weights[0].device if weights else pixels_BCHW.device
        for pixels, numbers in zip(pixels_BCHW.split(self.batch_size), numbers_B.split(self.batch_size), strict=True):
            pinned = pixels.pin_memory() if device.type == 'cuda' else pixels  # else the copy waits
            statistics.update(pinned.to(device, non_blocking=True), numbers)

    def checkpoint(self, samples: Samples, statistics: ImageSetStatistics) -> StatisticsCheckpoint | None:
        """This rank's checkpoint; distributed processes keep more features than others."""
        if self.folder is None:
            return None
        what = (os.path.realpath(samples.path), self.preparation, self.extractor.fingerprint, ' '.join(statistics.rows))
        return StatisticsCheckpoint(self.folder / 'unfinished', (*what, *map(str, get_dist_info())), self.save_every)

    def bar(self, samples: Samples, own: Sequence[int], done: int, text: str) -> Progress:
        """How far this rank is with its images."""
        total, initial = (sum(len(samples.numbers(block)) for block in part) for part in (own, own[:done]))
        return Progress(text, total, *get_dist_info(), self.log, done=initial)


def check_batch_size(batch_size: int) -> None:
    """Raise if a batch size is below 1."""
    if batch_size < 1:
        raise UserError(f'evaluate: the batch size must be 1 or more, got {batch_size}.')
