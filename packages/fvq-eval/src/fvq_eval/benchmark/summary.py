"""The finished runs of a benchmark in numbers: means and spreads over seeds, and paired differences."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .bootstrap import PairedDifference
from .chosen_rates import SELECTED_BY
from .comparison import compare
from .rows import Row
from .run import FINISHED, OTHER, BenchmarkRun
from .scheduler import Benchmark


@dataclass(frozen=True)
class Quantity:
    """A metric, or a fact of a run's result, with its name there, the title of its column, and the digits after the point."""

    key: str
    title: str
    digits: int = 2


QUANTITIES = (
    Quantity('psnr', 'PSNR dB'),
    Quantity('ssim', 'SSIM', 3),
    Quantity('lpips', 'LPIPS', 4),
    Quantity('feature_distance', 'feature distance', 4),
    Quantity('usage', 'usage %', 1),
    Quantity('usage_1pct', 'usage at 1 % of even %', 1),
    Quantity('perplexity', 'perplexity', 0),
    Quantity('relative_perplexity', 'perplexity/K', 3),
    Quantity('dead_codes', 'dead codes', 0),
    Quantity('bits_per_image', 'bits an image', 0),
    Quantity('effective_bits_per_image', 'effective bits an image', 0),
    Quantity('generator_bits_per_image', 'bits an image, generator', 1),
    Quantity('unigram_bits_per_image', 'bits an image, unigram code', 1),
    Quantity('generator_gain', 'gain over unigram %', 1),
    Quantity('kid_of_samples', 'KID of samples', 4),
    Quantity('kid_of_reconstructions', 'KID of reconstructions', 4),
    Quantity('relative_quantization_error', 'D/var(z)', 4),
    Quantity('steps_per_second', 'steps/s', 2),
    Quantity('peak_memory_mib', 'peak MiB', 0),
    Quantity('projector_macs', 'projector MMAC', 2),
    Quantity('projector_parameters', 'projector parameters', 0),
)
SCALES = {'projector_macs': 1e-6}


@dataclass
class Cell:
    """A number of a row: its value for each seed."""

    values: list[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def text(self, digits: int) -> str:
        """`mean`, or `mean ± spread` for several seeds."""
        shown = f'{self.mean:.{digits}f}'
        return f'{shown} ± {self.spread:.{digits}f}' if self.spread is not None else shown


@dataclass
class RowSummary:
    """A row of the report.

    Attributes:
        runs: Its finished runs with the chosen learning rate, one a seed.
        tried: Every run of it, with its result.
        reference: Name of the row that PSNR is compared with; '' for that row itself.
        difference: PSNR against the reference row; None if the two cannot be compared.
        difference_note: Why not, or which seeds count if not all of those shown do; else ''.
        rates_done, rates: Learning rates whose run with the first seed has ended, and those in all.
        failure: Why it has no number, or what is missing of it.
    """

    row: Row
    runs: list[BenchmarkRun] = field(default_factory=list)
    tried: list[tuple[BenchmarkRun, dict[str, Any] | None]] = field(default_factory=list)
    factor: float | None = None
    cells: dict[str, Cell] = field(default_factory=dict)
    reference: str = ''
    difference: PairedDifference | None = None
    difference_note: str = ''
    rates_done: int = 0
    rates: int = 0
    failure: str = ''

    @property
    def tuned(self) -> bool:
        """Whether every learning rate was tried, so that the chosen one is the best of them."""
        return 0 < self.rates == self.rates_done

    @property
    def results(self) -> list[dict[str, Any]]:
        """The results of `runs`."""
        return [run.result() or {} for run in self.runs]

    @property
    def tokens(self) -> int:
        """N, the codes of the evaluation set that usage was counted over, of a row with codes."""
        return self.results[0]['metrics']['usage']['tokens']

    @property
    def cap(self) -> float:
        """The largest expected usage, in %: N codes drawn evenly from K show 1 - exp(-N/K) of them."""
        return 100.0 * -math.expm1(-self.tokens / self.row.codebook_size)

    def without_seed(self, seed: int) -> Cell | None:
        """PSNR over the other seeds; None if there is no other."""
        others = [run.seed != seed for run in self.runs]
        values = list(itertools.compress(self.cells[SELECTED_BY].values, others)) if self.runs else []
        return Cell(values) if values else None

    def latents_per_code(self) -> float:
        """Latents that training saw for each code: how far the run went."""
        result = self.results[0]
        return result['steps'] * result['batch_size'] * self.row.codes_per_image / self.row.codebook_size


def summarize(benchmark: Benchmark, references: Mapping[str, str]) -> list[RowSummary]:
    """All rows: finished ones by falling PSNR, then those without a number; `references` are names by rows' names."""
    summaries = {row.name: summarize_row(benchmark, row) for row in benchmark.rows}
    for name, summary in summaries.items():
        reference = references.get(name, name)
        if reference != name:
            against = summaries[reference]
            summary.reference = reference
            summary.difference, summary.difference_note = compare(summary.row, summary.runs, against.row, against.runs)
    return sorted(summaries.values(), key=lambda each: -each.cells['psnr'].mean if each.runs else math.inf)


def summarize_row(benchmark: Benchmark, row: Row) -> RowSummary:
    """Its runs, the rate that was chosen, and its numbers."""
    summary = RowSummary(row, failure=f'refused: {row.refusal}' if row.refusal else '')
    if row.cfg is None or row.refusal:
        return summary
    summary.factor = benchmark.best_factor(row)
    runs = [benchmark.run(row, factor, benchmark.seeds[0]) for factor in benchmark.factors_of(row)]
    if summary.factor is not None:
        runs += [benchmark.run(row, summary.factor, seed) for seed in benchmark.seeds[1:]]
    summary.tried = [(run, benchmark.result(run)) for run in runs]
    first = [result for run, result in summary.tried if run.seed == benchmark.seeds[0]]
    summary.rates = len(first)
    summary.rates_done = sum(result is not None and result['status'] != OTHER for result in first)
    summary.runs = [run for run, result in summary.tried if run.factor == summary.factor and is_done(result)]
    broken = [(run, result) for run, result in summary.tried if result is not None and not is_done(result)]
    missing = [f'{each["status"]} (lr x{run.factor:g}, seed {run.seed}): {each["reason"]}' for run, each in broken[:1]]
    missing += [
        f'generator (seed {run.seed}): {run.generator_failure}' for run in summary.runs if run.generator_failure
    ][:1]
    if not summary.tuned and summary.rates_done:
        missing.append(f'{summary.rates_done} of {summary.rates} rates so far')
    summary.failure = '; '.join(missing) or ('' if summary.tuned else 'not trained yet')
    for quantity in QUANTITIES:
        values = [value_of(result, quantity.key) for result in summary.results]
        found = [value for value in values if value is not None]
        if found:
            summary.cells[quantity.key] = Cell([value * SCALES.get(quantity.key, 1.0) for value in found])
    return summary


def is_done(result: dict[str, Any] | None) -> bool:
    return result is not None and result['status'] == FINISHED


def value_of(result: dict[str, Any], key: str) -> float | None:
    """A metric's value or a fact of a run; None if it has neither."""
    metric = result['metrics'].get(key)
    return metric['value'] if metric is not None else result.get(key)
