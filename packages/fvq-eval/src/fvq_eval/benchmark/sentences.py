"""Sentences of the report: which rates were tried, what the runs recorded, how intervals were made."""

from __future__ import annotations

from collections.abc import Sequence

from .chosen_rates import factors_text
from .comparison import OTHER_CROPS, OTHER_RATE
from .reference import SAME_RATE
from .scheduler import Benchmark
from .summary import RowSummary
from .tables import unselected_table

FEWEST_CODES = 10  # evaluation codes for each code of the codebook
FEWEST_PHOTOS = 10  # of an interval that is worth its name


def recorded(summaries: Sequence[RowSummary]) -> list[str]:
    """What the runs recorded: every value if they differ, and nothing if none is finished."""
    results = [result for summary in summaries for result in summary.results]
    jobs = sorted({run.jobs for summary in summaries for run in summary.runs if run.jobs})
    if not results:
        return []
    steps, batch, device, threads = (
        ' / '.join(sorted({str(result[key]) for result in results}))
        for key in ('steps', 'batch_size', 'device', 'threads')
    )
    versions = ' / '.join(
        sorted({', '.join(f'{name} {version}' for name, version in result['versions'].items()) for result in results})
    )
    facts = [f'{steps} steps of {batch} crops.', f'{device}, {threads} CPU thread(s) a run.']
    return [*facts, *([f'{" / ".join(map(str, jobs))} run(s) at a time.'] if jobs else []), f'{versions}.']


def tried(benchmark: Benchmark, summaries: Sequence[RowSummary]) -> list[str]:
    """Which learning rates were tried; nothing if another benchmark chose them, which the notes state."""
    if benchmark.chosen is not None:
        return []
    factors = factors_text(benchmark.factors)
    waiting = [summary.row.name for summary in summaries if not summary.row.refusal and not summary.tuned]
    if waiting:
        return [
            f'Learning-rate factors to be tried for every row alike: {factors}; not done yet: {", ".join(waiting)}.'
        ]
    return [f'Learning-rate factors tried for every row alike: {factors}.']


def is_selected(benchmark: Benchmark) -> bool:
    """Whether learning rates were chosen by numbers of this report."""
    return benchmark.chosen is None and len(benchmark.factors) > 1


def selected(benchmark: Benchmark, summaries: Sequence[RowSummary]) -> list[str]:
    """That one of the seeds in the means also chose the learning rate."""
    if not is_selected(benchmark) or not any(summary.tuned for summary in summaries):
        return []
    seed = benchmark.seeds[0]
    text = (
        f"Seed {seed} chose each row's learning rate on the evaluation set and is in the means, which flatters all rows"
    )
    has_others = unselected_table(summaries, seed) is not None
    return [f'{text}; the appendix has the means without it.' if has_others else f'{text}.']


def compared(summaries: Sequence[RowSummary]) -> list[str]:
    """How the paired intervals were made, and why a row has none."""
    found = [summary.difference for summary in summaries if summary.difference]
    given = [difference for difference in found if difference.interval is not None]
    notes = []
    if found:
        images, photos = found[0].images, found[0].photos
        drawn = f'the {photos} photos with all their crops' if photos < images else 'images'
        notes.append(
            f'Differences are paired: PSNR of each of {images} crops, mean over the seeds that both rows have, and a '
            f'bootstrap that draws {drawn}; in parentheses unless the interval leaves 0 out. The interval is about photos; '
            f'what another seed would change is the standard deviation. Of {len(given)} intervals of 95 % about '
            f'{0.05 * len(given):.1f} leave 0 out by chance.'
        )
        if photos < FEWEST_PHOTOS:
            notes.append(
                f'Warning: {photos} evaluation photo(s). Below {FEWEST_PHOTOS} an interval is narrower than it should be, '
                'and one photo has none, because it tells nothing about others.'
            )
    reasons = {
        OTHER_RATE: f'bits/image differ by more than {SAME_RATE:.0%}, so that no difference is given',
        OTHER_CROPS: 'the two rows were scored on different crops, so that no difference is given',
    }
    used = {summary.difference_note for summary in summaries}
    return [*notes, *(f'"{note}": {reason}.' for note, reason in reasons.items() if note in used)]


def continuous(summaries: Sequence[RowSummary]) -> list[str]:
    """Which rows have no codes, so that nothing says what their latents cost."""
    names = [summary.row.name for summary in summaries if summary.runs and not summary.row.codebook_size]
    return [f'No codes, hence no bits, for {", ".join(names)}: continuous latents.'] if names else []


def memory_note(summaries: Sequence[RowSummary]) -> str:
    """What the memory column is."""
    kinds = sorted({result['memory_is'] for summary in summaries for result in summary.results})
    return f'Peak memory: {", ".join(kinds)}. steps/s is the median over logged intervals, data loading included.'


def starved(summaries: Sequence[RowSummary]) -> str:
    """Whether enough codes were counted for a usage figure to mean something."""
    coded = [s for s in summaries if s.runs and s.row.codebook_size]
    few = [s.row.name for s in coded if s.tokens < FEWEST_CODES * s.row.codebook_size]
    verdict = (
        f'Fewer than {FEWEST_CODES} K codes were counted for: {", ".join(few)}.'
        if few
        else (f'All rows are counted over at least {FEWEST_CODES} K codes.')
    )
    return f'Usage is counted over N codes of the evaluation set; N codes drawn evenly would show the cap. {verdict}'
