"""Claims of a study: one method minus another, over seeds, over seeds and photos, and corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fvq_core.files.arrays import read_npz

from ..hooks.per_image_hook import NAME as PER_IMAGE_NAME
from .mixed_bootstrap import mixed_bootstrap
from .photo_data import labels_are_photos
from .run import FAILED, FINISHED, BenchmarkRun
from .seed_differences import SeedDifference, holm, paired_t, smallest_detectable
from .summary import RowSummary, value_of

ALPHA = 0.05


@dataclass(frozen=True)
class Measure:
    """A number of an image that methods are compared by.

    Attributes:
        sign: 1 if more is better, -1 if less is.
    """

    key: str
    title: str
    digits: int
    sign: int


MEASURES = (
    Measure('psnr', 'PSNR dB', 2, 1),
    Measure('lpips', 'LPIPS', 4, -1),
    Measure('feature_distance', 'feature distance', 4, -1),
)


@dataclass(frozen=True)
class Contrast:
    """`row` minus `minus` at one length.

    Attributes:
        planned: Seeds of the plan.
        ended: Those that have ended in both rows, finished or failed.
        failed: Those that a row failed with, for each row that did.
        seeds: Those that both finished.
        difference: One value a seed; None without a common seed.
        mixed: The interval over seeds and photos; None if there are too few.
        claimed: Whether it is one of the claims, which `adjusted` is about.
        adjusted: p after Holm, over all claims; of a claim that cannot be tested yet, None.
        detectable: The difference that so many seeds find in four of five cases, given the spread that was seen, at the
            first step of Holm for a claim.
    """

    row: str
    minus: str
    steps: int
    measure: Measure
    planned: tuple[int, ...]
    ended: tuple[int, ...]
    failed: Mapping[str, tuple[int, ...]]
    seeds: tuple[int, ...]
    difference: SeedDifference | None
    mixed: tuple[float, float] | None
    claimed: bool
    adjusted: float | None = None
    detectable: float | None = None

    @property
    def complete(self) -> bool:
        """Whether all seeds of the plan have ended. Before that nothing is tested: who looks often would stop at a good one."""
        return len(self.ended) == len(self.planned)

    @property
    def p(self) -> float | None:
        """Two-sided, of no difference; None if it cannot be tested (yet)."""
        return self.difference.p if self.complete and self.difference is not None else None

    @property
    def verdict(self) -> str:
        """What may be said, and which seeds of which row failed."""
        so_far = f'{len(self.ended)} of {len(self.planned)} seeds so far'
        failed = '; '.join(f'{row} with {", ".join(map(str, seeds))}' for row, seeds in self.failed.items())
        return (self.outcome() if self.complete else so_far) + (f' (failed seeds: {failed})' if failed else '')

    def outcome(self) -> str:
        """`better` and `worse` need an interval that excludes 0, and a claim also Holm's correction.

        Seeds that a row failed with are not in the difference, so one that failed is judged by its good days: it is not
        called better.
        """
        found = self.difference
        if found is None or found.interval is None:
            return 'too few seeds'
        if not found.differs:
            return 'no difference shown'
        if self.claimed and not (self.adjusted is not None and self.adjusted < ALPHA):
            return 'not shown after correction'
        better = found.mean * self.measure.sign > 0
        if (self.row if better else self.minus) in self.failed:
            return 'not shown'
        return 'better' if better else 'worse'


def contrasts(
    summaries: Mapping[tuple[str, int], RowSummary],
    claims: Sequence[tuple[str, str]],
    claimed_at: int,
    planned: Sequence[int],
) -> list[Contrast]:
    """Every claim's difference at every length and in every measure; those at one length are the family that is corrected.

    Args:
        summaries: By the name of the config and the number of steps.
        claims: Pairs of names: the first minus the second.
        claimed_at: The steps at which claims are tested.
        planned: Seeds of the plan; others are in no difference.
    """
    lengths = sorted({steps for _, steps in summaries})
    # One list for all, so that the size of the family does not depend on which rows have come so far.
    measures = [measure for measure in MEASURES if any(measure.key in each.cells for each in summaries.values())]
    found = []
    for steps in lengths:
        for row, minus in claims:
            pair = summaries.get((row, steps)), summaries.get((minus, steps))
            for measure in measures or MEASURES[:1]:
                found.append(contrast(row, minus, steps, measure, pair, steps == claimed_at, planned))
    family = [each for each in found if each.claimed]
    # One that has no p yet counts as not shown, so that the others' correction is that of the whole family.
    adjusted = dict(zip(map(id, family), holm([p_of(each) for each in family]), strict=True))
    return [
        replace(
            each, adjusted=adjusted.get(id(each)) if p_of(each) < 1 else None, detectable=detectable(each, len(family))
        )
        for each in found
    ]


def p_of(each: Contrast) -> float:
    return 1.0 if each.p is None else each.p


def detectable(each: Contrast, family: int) -> float | None:
    """See `Contrast`."""
    if each.difference is None or not each.difference.spread:
        return None
    alpha = ALPHA / family if each.claimed else ALPHA
    return smallest_detectable(each.difference.spread, len(each.seeds), paired=True, alpha=alpha)


def contrast(
    row: str,
    minus: str,
    steps: int,
    measure: Measure,
    pair: tuple[RowSummary | None, RowSummary | None],
    claimed: bool,
    planned: Sequence[int],
) -> Contrast:
    """One difference, over the planned seeds that both rows finished."""
    statuses = [statuses_of(summary, planned) for summary in pair]
    ended = tuple(seed for seed in planned if all(seed in each for each in statuses))
    failed = {
        name: tuple(seed for seed, status in each.items() if status == FAILED)
        for name, each in zip((row, minus), statuses, strict=True)
        if FAILED in each.values()
    }
    own, other = ({run.seed: run for run in summary.runs} if summary else {} for summary in pair)
    seeds = tuple(seed for seed in planned if seed in own and seed in other)
    values = [score(own[seed], measure) - score(other[seed], measure) for seed in seeds]
    difference = paired_t(values) if seeds else None
    mixed = over_photos([(own[seed], other[seed]) for seed in seeds], measure) if seeds else None
    return Contrast(row, minus, steps, measure, tuple(planned), ended, failed, seeds, difference, mixed, claimed)


def statuses_of(summary: RowSummary | None, planned: Sequence[int]) -> dict[int, str]:
    """Finished or failed, for each planned seed that has ended; none of a row whose rate may still change."""
    if summary is None or not (summary.tuned or summary.rates == 1):
        return {}
    if summary.factor is None:  # it failed at every rate, so that no other seed is trained
        return dict.fromkeys(planned, FAILED)
    found = {run.seed: result for run, result in summary.tried if run.factor == summary.factor and result is not None}
    return {
        seed: found[seed]['status'] for seed in planned if seed in found and found[seed]['status'] in (FINISHED, FAILED)
    }


def score(run: BenchmarkRun, measure: Measure) -> float:
    """A finished run's; NaN if it was not measured."""
    value = value_of(run.result() or {'metrics': {}}, measure.key)
    return float('nan') if value is None else value


def over_photos(pairs: Sequence[tuple[BenchmarkRun, BenchmarkRun]], measure: Measure) -> tuple[float, float] | None:
    """The interval over seeds and photos; None if crops differ, or it is not known which photo they are of."""
    if not labels_are_photos(pairs[0][0].cfg.val_dataloader['dataset']):
        return None
    found = [[read_npz(run.folder / PER_IMAGE_NAME) for run in pair] for pair in pairs]
    labels = found[0][0]['labels']
    if any(not np.array_equal(labels, each['labels']) or measure.key not in each for pair in found for each in pair):
        return None
    return mixed_bootstrap(np.stack([one[measure.key] - other[measure.key] for one, other in found]), labels)
