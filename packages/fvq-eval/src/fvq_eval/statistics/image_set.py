"""Statistics of an image set for Frechet distances, Inception score, precision and recall; images are never kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import all_gather_object
from torch import Tensor

from fvq_core.errors import UserError

from ..features.feature_extractor import FeatureExtractor
from .comparable import check_comparable
from .gather import gather_rows
from .moments import Gaussian, Moments, sum_moments
from .statistics_file import read_statistics, write_statistics

MOMENTS = ('pool', 'spatial')  # features whose mean and covariance are kept
ROWS = ('pool', 'logits')  # features that are kept of every image by default
HELD_BYTES = 64 * 2**20  # of a feature on the device before they are copied to the CPU, which waits
KIND = ('extractor_name', 'provenance', 'fingerprint', 'logit_bias_C')  # the arguments of `describe`


class ImageSetStatistics:
    """Streaming statistics of one set of images; sums are in float64.

    Images carry their number, their position in the whole set. What depends on order (splits of the Inception score, blocks of
    precision and recall) follows the numbers, never batches or ranks, and an image that comes twice counts once.

    Args:
        extractor: Extractor of features, on the device of the images that will come.
        keep_features: True keeps `pool` and `logits` of every image in float32 on the CPU, 4 bytes a number; False keeps
            nothing, which is enough for Frechet distances; names keep those features. Distributed processes keep all of
            them until `reduce`, so that an image that two ranks saw can be taken out again.
        shifts: Means about which sums are kept, by feature: those of the reference.

    Attributes:
        moments: `Moments` by feature; empty in loaded statistics and subsets, see `gaussian`.
        extractor_name: See `FeatureExtractor`; None if a file does not state it.
        provenance: See `FeatureExtractor`.
        fingerprint: See `FeatureExtractor`; None if a file does not state it.
        logit_bias_C: See `FeatureExtractor`.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        keep_features: bool | Collection[str] = True,
        shifts: Mapping[str, Tensor] | None = None,
    ) -> None:
        if not isinstance(keep_features, bool) and not set(keep_features) <= set(extractor.sizes):
            raise UserError(
                f'{extractor.name}: keep_features={keep_features}; this extractor has {list(extractor.sizes)}.'
            )
        bias_C, shifts = extractor.logit_bias_C, shifts or {}
        bias_C = None if bias_C is None else bias_C.cpu()
        self.describe(extractor.name, extractor.provenance, extractor.fingerprint, bias_C)
        self.extractor: FeatureExtractor | None = extractor
        self.sizes = dict(extractor.sizes)
        wanted = (ROWS if keep_features else ()) if isinstance(keep_features, bool) else keep_features
        self.kept = [name for name in extractor.sizes if name in wanted]
        sizes = self.sizes
        self.moments = {name: Moments(sizes[name], shifts.get(name)) for name in MOMENTS if name in sizes}
        self.rows = {name: [] for name in (extractor.sizes if dist.is_initialized() else self.kept)}

    def describe(
        self, extractor_name: str | None, provenance: str, fingerprint: str | None, logit_bias_C: Tensor | None
    ) -> None:
        """Start with no images, in features of this kind, and finished."""
        self.extractor_name, self.provenance, self.fingerprint = extractor_name, provenance, fingerprint
        self.logit_bias_C = logit_bias_C
        self.extractor = None
        self.sizes: dict[str, int] = {}
        self.kept: list[str] = []
        self.moments: dict[str, Moments] = {}
        self.gaussians: dict[str, Gaussian] = {}
        self.numbers: list[Tensor] = []
        self.seen: set[int] = set()
        self.rows: dict[str, list[Tensor]] = {}

    @classmethod
    def finished(
        cls,
        kind: Mapping[str, Any],
        gaussians: Mapping[str, Gaussian],
        numbers_N: Tensor,
        rows: Mapping[str, Tensor],
    ) -> ImageSetStatistics:
        """Statistics that take no more images.

        Args:
            kind: The arguments of `describe`.
            numbers_N: int64, ascending, of the images whose features are here.
        """
        self = cls.__new__(cls)
        self.describe(**kind)
        self.gaussians, self.kept = dict(gaussians), list(rows)
        self.sizes = {name: row_ND.shape[1] for name, row_ND in rows.items()}
        self.numbers, self.rows = [numbers_N], {name: [row_ND] for name, row_ND in rows.items()}
        return self

    @property
    def kind(self) -> dict[str, Any]:
        """The arguments of `describe`."""
        return {key: getattr(self, key) for key in KIND}

    @property
    def count(self) -> int | None:
        """Number of images behind the moments; None if a file of statistics does not state it."""
        return self.moments['pool'].count if self.moments else self.gaussians['pool'].count

    @torch.no_grad()
    def update(self, pixels_BCHW: Tensor, numbers_B: Tensor) -> None:
        """Add images; those whose number was here before are left out.

        Args:
            pixels_BCHW: uint8, or float32 in [0, 255].
            numbers_B: int64, the images' positions in the whole set.

        Raises:
            UserError: Numbers that are not one for each image, bad pixels, or statistics that are finished.
        """
        if self.extractor is None:
            raise UserError('ImageSetStatistics: these are finished (reduced, loaded or a subset); start new ones.')
        if numbers_B.shape != (len(pixels_BCHW),) or numbers_B.is_floating_point():
            raise UserError(
                f'ImageSetStatistics: expected one whole number for each of {len(pixels_BCHW)} images, got '
                f'{numbers_B.dtype} {tuple(numbers_B.shape)}.'
            )
        fresh = []
        for position, number in enumerate(numbers_B.tolist()):
            if number not in self.seen:
                self.seen.add(number)
                fresh.append(position)
        if not fresh:
            return
        features = self.extractor(pixels_BCHW if len(fresh) == len(pixels_BCHW) else pixels_BCHW[fresh])
        self.numbers.append(numbers_B.cpu()[fresh].to(torch.int64))
        for name, moments in self.moments.items():
            moments.update(features[name])
        for name, rows in self.rows.items():
            rows.append(features[name])
            if sum(row_BD.nbytes for row_BD in latest(rows)) >= HELD_BYTES:
                fetch(rows)
        self.gaussians.clear()

    def reduce(self) -> None:
        """Join the images of all ranks; then every rank holds the statistics of the whole set, and they are finished.

        An image that several ranks saw counts once, for the lowest of them. One small message tells who saw what, one
        all-reduce sums the moments; features that are kept travel once.
        """
        if self.extractor is not None and dist.is_initialized():
            self.settle()
            (mine,) = self.numbers
            every = all_gather_object((mine, {name: moments.shift_D for name, moments in self.moments.items()}))
            lower = [numbers for numbers, _ in every[: dist.get_rank()]]
            shared = torch.isin(mine, torch.cat(lower)) if lower else torch.zeros(len(mine), dtype=torch.bool)
            for name, moments in self.moments.items():
                moments.remove(self.rows[name][0][shared])
            sum_moments(self.moments, [shift for _, shift in every])
            self.gaussians.clear()
            self.gather_features(~shared)
        self.extractor = None

    def gather_features(self, own_N: Tensor) -> None:
        """Collect the features that are kept from all ranks, in order of number; `own_N` is whether an image counts here."""
        counts = all_gather_object(int(own_N.sum()))
        self.numbers = [gather_rows(self.numbers[0][own_N], counts)]
        self.rows = {name: [gather_rows(self.rows[name][0][own_N], counts)] for name in self.kept}
        self.seen = set(self.numbers[0].tolist())
        self.settle()

    def settle(self) -> None:
        """Numbers and features in one piece each, in order of number."""
        numbers_N = in_one_piece(self.numbers, torch.zeros(0, dtype=torch.int64))
        order = None if bool((numbers_N[1:] > numbers_N[:-1]).all()) else numbers_N.argsort()
        self.numbers = [numbers_N if order is None else numbers_N[order]]
        for name, rows in self.rows.items():
            fetch(rows)
            row_ND = in_one_piece(rows, torch.zeros(0, self.sizes[name]))
            self.rows[name] = [row_ND if order is None else row_ND[order]]

    def gaussian(self, name: str) -> Gaussian | None:
        """Mean and covariance of a feature, kept with its factor; None if these statistics lack it."""
        if name not in self.gaussians and name in self.moments:
            self.gaussians[name] = self.moments[name].gaussian()
        return self.gaussians.get(name)

    def features(self, name: str = 'pool') -> Tensor | None:
        """Features of all images in order of number, (N, D) float32; None if they were not kept."""
        if name not in self.kept:
            return None
        self.settle()
        return self.rows[name][0]

    def subset(self, numbers: Collection[int] | Tensor) -> ImageSetStatistics:
        """Statistics of some of the images, such as one class, for the features that are kept.

        Raises:
            UserError: Features were not kept, or an image is not in the set.
        """
        listed = numbers if isinstance(numbers, Tensor) else sorted(numbers)
        wanted = torch.as_tensor(listed, dtype=torch.int64).unique()
        pool_ND = self.features('pool')
        if pool_ND is None:
            raise UserError('ImageSetStatistics.subset: needs the features of every image; use keep_features=True.')
        missing = wanted[~torch.isin(wanted, self.numbers[0])]
        if len(missing):
            raise UserError(f'ImageSetStatistics.subset: image {int(missing[0])} is not in this set of {self.count}.')
        positions = torch.searchsorted(self.numbers[0], wanted)
        rows = {name: self.rows[name][0][positions] for name in self.kept}
        gaussians = {}
        for name in MOMENTS:
            if name in rows and len(positions) > 1:
                moments = Moments(rows[name].shape[1])
                moments.update(rows[name])
                gaussians[name] = moments.gaussian()
        return ImageSetStatistics.finished(self.kind, gaussians, wanted, rows)

    def with_features_of(self, other: ImageSetStatistics) -> ImageSetStatistics:
        """These moments with the features of other images: a reference whose moments are of more images than are listed."""
        check_comparable(self, other)
        gaussians = {name: found for name in MOMENTS if (found := self.gaussian(name)) is not None}
        rows = {name: row_ND for name in other.kept if (row_ND := other.features(name)) is not None}
        return ImageSetStatistics.finished(other.kind, gaussians, other.numbers[0], rows)

    def save(self, path: str | Path, features: bool = True, note: str = '') -> None:
        """Write an npz file; see `statistics_file`.

        Args:
            features: Also write the features that are kept of every image.
            note: Text for `statistics_file.read_note`.
        """
        self.settle()
        write_statistics(
            Path(path),
            gaussians={name: found for name in MOMENTS if (found := self.gaussian(name)) is not None},
            numbers_N=self.numbers[0],
            rows={name: self.rows[name][0] for name in self.kept} if features else {},
            kind=self.kind,
            note=note,
        )

    @classmethod
    def load(cls, path: str | Path) -> ImageSetStatistics:
        """Statistics from a file of `save`, or one of ADM's with `mu`, `sigma` and optionally `mu_s`, `sigma_s`.

        Raises:
            UserError: The file holds no statistics, broken ones, or pickled objects.
        """
        gaussians, numbers_N, rows, kind = read_statistics(Path(path))
        return cls.finished(kind, gaussians, numbers_N, rows)


def in_one_piece(parts: list[Tensor], nothing: Tensor) -> Tensor:
    """The parts one after another; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else nothing


def latest(rows: list[Tensor]) -> list[Tensor]:
    """The features at the end of a list that are still on a device."""
    return [row_BD for row_BD in rows if row_BD.device.type != 'cpu']


def fetch(rows: list[Tensor]) -> None:
    """Bring features of several batches to the CPU in one copy, in place."""
    if held := latest(rows):
        rows[-len(held) :] = [torch.cat(held).cpu()]
