"""The tables of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fvq_core.stamp import stamp

from ..reports.blocks import Table
from .disjoint_codes import cap, disjoint_codes
from .run import FINISHED
from .summary import QUANTITIES, RowSummary, value_of

NOTHING = '-'


def main_table(summaries: Sequence[RowSummary]) -> Table:
    """One line a row, with every column that any row has."""
    quantities = [quantity for quantity in QUANTITIES if any(quantity.key in summary.cells for summary in summaries)]
    references = sorted({summary.reference for summary in summaries if summary.reference})
    against = references[0] if len(references) == 1 else 'reference'
    head = ['row', 'K', 'bits/image', 'seeds', 'lr', quantities[0].title, f'PSNR minus {against} [95 %]']
    head += ['reference'] * (len(references) > 1) + [quantity.title for quantity in quantities[1:]]
    lines = []
    for summary in summaries:
        if not summary.runs:
            continue
        row, rate = summary.row, f'{summary.results[0]["learning_rate"]:.3g}'
        cells = [summary.cells[c.key].text(c.digits) if c.key in summary.cells else NOTHING for c in quantities]
        size = [str(row.codebook_size), f'{row.bits_per_image:.0f}'] if row.codebook_size else [NOTHING, NOTHING]
        start = [row.name, *size, str(len(summary.runs)), rate]
        compared = [difference_text(summary), *[summary.reference or NOTHING] * (len(references) > 1)]
        lines.append([*start, cells[0], *compared, *cells[1:]])
    return Table(head, lines)


def difference_text(summary: RowSummary) -> str:
    """`+0.31 [+0.12, +0.49]`, in brackets of its own unless the interval leaves 0 out; or why there is none."""
    difference = summary.difference
    if difference is None:
        return summary.difference_note or NOTHING
    interval = 'no interval' if difference.interval is None else '{:+.2f}, {:+.2f}'.format(*difference.interval)
    text = f'{difference.mean:+.2f} [{interval}]'
    text = text if difference.differs else f'({text})'
    return f'{text} {summary.difference_note}'.rstrip()


def pairs_table(head: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Table | None:
    """A table of rows with a remark on each; None without remarks."""
    return Table(head, [list(pair) for pair in pairs], text=True) if pairs else None


def unselected_table(summaries: Sequence[RowSummary], seed: int) -> Table | None:
    """PSNR with and without the seed that chose the learning rate; None if no row has another seed."""
    lines = [
        [summary.row.name, summary.cells['psnr'].text(2), others.text(2), str(len(others.values))]
        for summary in summaries
        if (others := summary.without_seed(seed)) is not None
    ]
    return Table(['row', 'PSNR dB, all seeds', f'without seed {seed}', 'seeds left'], lines) if lines else None


def codes_table(summaries: Sequence[RowSummary]) -> Table | None:
    """How many codes stand behind each usage figure, and how far training went; None if no row has codes."""
    lines = []
    for summary in (summary for summary in summaries if summary.runs and summary.row.codebook_size):
        K, N = summary.row.codebook_size, summary.tokens
        apart = disjoint_codes(summary.row, 'val', N)
        without = [NOTHING, NOTHING] if apart is None else [str(apart), f'{cap(apart, K):.3f}']
        numbers = [f'{N / K:.1f}', f'{summary.cap:.3f}', *without, f'{summary.latents_per_code():.3g}']
        lines.append([summary.row.name, str(K), str(N), *numbers])
    head = ['row', 'K', 'codes counted N', 'N/K', 'cap 1 - exp(-N/K) %']
    head += ['codes without overlap', 'their cap %', 'latents a code in training']
    return Table(head, lines) if lines else None


def failures_table(summaries: Sequence[RowSummary]) -> Table | None:
    """Rows, or single runs, without numbers; None if all have numbers."""
    failures = [(summary.row.name, summary.failure) for summary in summaries if summary.failure]
    return pairs_table(['row', 'why there is no number'], failures)


def rates_table(summaries: Sequence[RowSummary]) -> Table:
    """Every run: each learning rate that was tried, and each seed."""
    lines = []
    for summary in summaries:
        for run, result in summary.tried:
            start = [summary.row.name, f'{run.factor:g}', str(run.seed)]
            if result is None:
                lines.append([*start, NOTHING, NOTHING, NOTHING, 'not trained yet'])
            elif result['status'] != FINISHED:
                lines.append([*start, NOTHING, NOTHING, NOTHING, f'{result["status"]}: {result["reason"]}'])
            else:
                psnr, usage = (value_of(result, key) for key in ('psnr', 'usage'))
                shown = [f'{psnr:.2f}', NOTHING if usage is None else f'{usage:.1f}']
                chosen = '' if run.factor != summary.factor else 'chosen' if summary.tuned else 'best so far'
                lines.append([*start, f'{result["learning_rate"]:.3g}', *shown, chosen])
    return Table(['row', 'factor', 'seed', 'lr', 'PSNR dB', 'usage %', ''], lines)


def stamps_table(summaries: Sequence[RowSummary]) -> Table:
    """What each number is: protocol, images, weights."""
    stamps: dict[str, list[Mapping[str, Any]]] = {}
    for summary in summaries:
        for result in summary.results:
            for key, metric in result['metrics'].items():
                stamps.setdefault(key, []).append(metric)
    lines = []
    for key in [quantity.key for quantity in QUANTITIES if quantity.key in stamps]:
        each = stamps[key]
        protocols = ' / '.join(sorted({stamp(metric) for metric in each}))
        images = ', '.join(sorted({str(metric['samples'] or NOTHING) for metric in each}))
        weights = ', '.join(sorted({metric['weights'] for metric in each}))
        lines.append([key, each[0]['unit'] or NOTHING, images, weights, protocols])
    return Table(['number', 'unit', 'images', 'weights', 'protocol'], lines, text=True)
