"""The tables of a study's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..reports.blocks import Table
from .contrasts import MEASURES, Contrast
from .disjoint_codes import cap, disjoint_codes, per_code
from .photo_data import crop_size
from .summary import RowSummary
from .tables import NOTHING

Summaries = Mapping[tuple[str, int], RowSummary]


def interval_text(interval: tuple[float, float] | None, digits: int, note: str = '') -> str:
    """`+0.12 to +0.49`, in parentheses unless it excludes 0; the note comes last."""
    if interval is None:
        return NOTHING
    text = f'{interval[0]:+.{digits}f} to {interval[1]:+.{digits}f}'
    return (text if interval[0] > 0 or interval[1] < 0 else f'({text})') + note


def contrasts_table(found: Sequence[Contrast], claimed: bool) -> Table:
    """One line a difference; claims have the corrected p, the others their length."""
    head = ['difference', *([] if claimed else ['steps']), 'measure', 'seeds', 'mean', '95 % over seeds']
    head += ['95 % over seeds and photos', *(['p (Holm)'] if claimed else []), 'seeds show from', 'so it is']
    lines = []
    for each in (each for each in found if each.claimed == claimed):
        digits, difference = each.measure.digits, each.difference
        so_far = '' if each.complete else ' so far'
        corrected = NOTHING if each.adjusted is None else f'{each.adjusted:.3f}'
        lines.append(
            [
                f'{each.row} minus {each.minus}',
                *([] if claimed else [f'{each.steps:,}']),
                each.measure.title,
                f'{len(each.seeds)}{so_far}',
                NOTHING if difference is None else f'{difference.mean:+.{digits}f}',
                interval_text(None if difference is None else difference.interval, digits, so_far),
                interval_text(each.mixed, digits, so_far),
                *([corrected] if claimed else []),
                NOTHING if each.detectable is None else f'{each.detectable:.{digits}f}',
                each.verdict,
            ]
        )
    return Table(head, lines)


def rows_table(summaries: Summaries) -> Table | None:
    """Every row at every length: means and deviations over seeds, in the order of the claims' measure."""
    shown = {key: summary for key, summary in summaries.items() if summary.runs}
    measures = [measure for measure in MEASURES if any(measure.key in each.cells for each in shown.values())]
    head = ['row', 'steps', 'seeds', *(measure.title for measure in measures), 'usage %', 'cap %', 'minutes a run']
    lines = []
    for (name, steps), summary in sorted(shown.items(), key=lambda item: (item[0][1], -item[1].cells['psnr'].mean)):
        cells = [summary.cells[m.key].text(m.digits) if m.key in summary.cells else NOTHING for m in measures]
        usage = summary.cells['usage'].text(1) if 'usage' in summary.cells else NOTHING
        minutes = sum(result['seconds'] for result in summary.results) / len(summary.runs) / 60
        lines.append([name, f'{steps:,}', str(len(summary.runs)), *cells, usage, cap_text(summary), f'{minutes:.1f}'])
    return Table(head, lines) if lines else None


def cap_text(summary: RowSummary) -> str:
    """The cap on usage of codes that stand for pixels of their own; `-` if it is not known."""
    if not summary.row.codebook_size:
        return NOTHING
    codes = disjoint_codes(summary.row, 'val', summary.tokens)
    return NOTHING if codes is None else f'{cap(codes, summary.row.codebook_size):.2f}'


def setting_table(summary: RowSummary) -> Table:
    """What every row shares, by the row of one summary."""
    row = summary.row
    assert row.cfg is not None
    K, L, side = row.codebook_size, row.codes_per_image, row.cfg.train_dataloader['batch_size']
    loader = row.cfg.val_dataloader['dataset']
    pixels = crop_size(loader) ** 2
    train, val = (disjoint_codes(row, split) for split in ('train', 'val'))
    facts = [
        ('codes K', f'{K:,}'),
        ('crops', f'{math.isqrt(pixels)}x{math.isqrt(pixels)}, {L} codes each'),
        ('bits a pixel', f'{row.bits_per_image / pixels:.3f}'),
        ('latents a code and step', f'{side * L / K:.2f}'),
        ('training positions a code, without overlap', per_code(train, K)),
        ('held-out positions a code, without overlap', per_code(val, K)),
    ]
    return Table(['setting', 'value'], [list(fact) for fact in facts])
