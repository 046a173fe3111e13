"""The report of a benchmark: Markdown, HTML, CSV and pictures, all from what the runs left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..plots.figure import save
from ..plots.rate_distortion_plot import RatePoint, plot_rate_distortion
from ..plots.seeds_plot import draw_seeds
from ..reports.blocks import Block, Code, Heading, Picture, Text
from ..reports.html import to_html
from ..reports.markdown import to_markdown
from .csv_files import write_report_csv, write_runs_csv
from .curves import plot_all
from .fairness import unusual
from .grid import SMALLEST_SIDE, draw_grid
from .reference import references
from .rows import Row
from .scheduler import Benchmark
from .sentences import compared, continuous, is_selected, memory_note, recorded, selected, starved, tried
from .summary import RowSummary, summarize, value_of
from .tables import codes_table, failures_table, main_table, pairs_table, rates_table, stamps_table, unselected_table

ENDS = {'psnr': 'PSNR (dB)', 'lpips': 'LPIPS', 'feature_distance': 'feature distance', 'usage': 'usage (%)'}
RATE_CAPTION = (
    'PSNR over the evaluation set, and what an image costs: filled, of a small generator trained on these codes; hollow, '
    'of the code that knows only how often each value comes. Bars reach from the smallest to the largest seed. Up and to '
    'the left is better.'
)
RATE_NOTE = (
    'Codes that are easy to predict are no merit by themselves: a codebook that collapsed to one code costs nothing. Read '
    'bits with the PSNR beside them. Both are of held-out crops, cut alike. Bits are a mean over seeds; no interval says which '
    'differences another seed would keep.'
)
REAL_NOTE = (
    'KID of real crops against the same reference: {kid_of_real} of other evaluation crops, which no reconstruction can be '
    'expected to beat, and {kid_of_training_crops} of training crops, which no samples can.'
)


def write_report(benchmark: Benchmark, reference: str | None, command: str, notes: Sequence[str]) -> list[RowSummary]:
    """Write every file of the report into the benchmark's folder.

    Args:
        reference: Name of the row that PSNR is compared with; by default each row has its own, see `references`.
        notes: Sentences about data, perceptual network, and where rates come from.
    """
    folder = benchmark.work_dir
    folder.mkdir(parents=True, exist_ok=True)
    summaries = summarize(benchmark, references(benchmark.rows, reference))
    write_report_csv(summaries, folder / 'report.csv')
    write_runs_csv(summaries, folder / 'runs.csv')
    blocks = [*heading(benchmark, summaries, command, notes), *numbers(benchmark, summaries)]
    blocks += [*pictures(summaries, folder), *appendix(benchmark, summaries)]
    (folder / 'report.md').write_text(to_markdown(blocks))
    (folder / 'report.html').write_text(to_html(blocks))
    return summaries


def heading(benchmark: Benchmark, summaries: Sequence[RowSummary], command: str, notes: Sequence[str]) -> list[Block]:
    """What was compared, and under what."""
    seeds = ', '.join(map(str, benchmark.seeds))
    facts = [f'Seeds: {seeds}.', *tried(benchmark, summaries), *notes, *recorded(summaries)]
    title = Heading('Quantizers under identical encoders', 1)
    return [title, *sameness(benchmark.rows), Code(command), Text(' '.join(facts))]


def sameness(rows: Sequence[Row]) -> list[Block]:
    """What all rows share, and a list of what they do not."""
    unequal = pairs_table(['row', 'differs in more than the quantizer'], unusual(rows, exempt=False))
    exempt = pairs_table(['row', 'setting that may differ'], unusual(rows, exempt=True))
    text = (
        'Checked to be the same in every row: encoder, decoder, losses, data, steps, optimizer, schedule. Rows differ in '
        'the quantizer and its projector'
        if unequal is None
        else 'These rows were allowed to differ in more than the quantizer (--allow-differences)'
    )
    lists = [block for block in (unequal, exempt) if block is not None]
    return [Text(f'{text}{", and in what is listed here" if exempt is not None else ""}.'), *lists]


def numbers(benchmark: Benchmark, summaries: Sequence[RowSummary]) -> list[Block]:
    """The main table and what stands behind its usage figures."""
    blocks: list[Block] = [Heading('Results')]
    if any(summary.runs for summary in summaries):
        notes = [
            'Mean ± standard deviation over seeds, by falling PSNR. bits/image is the sum of log2 of the values that each '
            'code of an image may take; more bits make better pictures with any method.',
            *continuous(summaries),
            *selected(benchmark, summaries),
            *compared(summaries),
            memory_note(summaries),
        ]
        blocks += [main_table(summaries), Text(' '.join(notes))]
        codes = codes_table(summaries)
        blocks += [] if codes is None else [codes, Text(starved(summaries))]
    failures = failures_table(summaries)
    if failures is not None:
        blocks += [Heading('Rows and runs without a number'), failures]
    return blocks


def pictures(summaries: Sequence[RowSummary], folder: Path) -> list[Block]:
    """What the runs end at, curves and the grid."""
    blocks: list[Block] = []
    seeds = {each.row.name: {key: cell.values for key, cell in each.cells.items()} for each in summaries if each.runs}
    ends = draw_seeds(seeds, ENDS)
    if ends is not None:
        save(ends, folder / 'seeds.png')
        blocks += [Heading('Every seed'), Picture(folder / 'seeds.png', 'A dot for each seed, a tick for their mean.')]
    for number, (path, reference) in enumerate(plot_all(summaries, folder)):
        if not number:
            blocks.append(Heading('Curves'))
        caption = f'Mean over seeds, band from the smallest to the largest; {reference} in black.'
        blocks.append(Picture(path, caption))
    rates = folder / 'rate_distortion.png'
    if plot_rate_distortion(rate_points(summaries), rates):
        blocks += [Heading('Rate and distortion'), Picture(rates, RATE_CAPTION), Text(rate_note(summaries))]
    grid = folder / 'reconstructions.png'
    if draw_grid(summaries, grid):
        caption = f'The same evaluation images through every row, first seed, enlarged to {SMALLEST_SIDE} pixels.'
        blocks += [Heading('Reconstructions'), Picture(grid, caption)]
    return blocks


def rate_points(summaries: Sequence[RowSummary]) -> dict[str, RatePoint]:
    """What each row that has a generator costs and how well it reconstructs, a value a seed."""
    points = {}
    for summary in summaries:
        results = [result for result in summary.results if 'generator_bits_per_image' in result['metrics']]
        if results:
            keys = ('psnr', 'generator_bits_per_image', 'unigram_bits_per_image')
            points[summary.row.name] = RatePoint(
                *([result['metrics'][key]['value'] for result in results] for key in keys)
            )
    return points


def rate_note(summaries: Sequence[RowSummary]) -> str:
    """How to read bits and kernel distances, with those of real crops, from the smallest to the largest."""
    found: dict[str, str] = {}
    for key in ('kid_of_real', 'kid_of_training_crops'):
        values = [value_of(result, key) for summary in summaries for result in summary.results]
        known = [value for value in values if value is not None]
        if known:
            found[key] = ' to '.join(dict.fromkeys(f'{value:.4f}' for value in (min(known), max(known))))
    return f'{RATE_NOTE} {REAL_NOTE.format(**found)}' if len(found) == 2 else RATE_NOTE


def appendix(benchmark: Benchmark, summaries: Sequence[RowSummary]) -> list[Block]:
    """Every run, and what every number is."""
    seed = benchmark.seeds[0]
    chosen = (
        f'Each factor is tried with seed {seed}; the one with the best PSNR over the evaluation set is chosen, and the '
        'other seeds are trained with it. The choice looks at the evaluation set, for every row alike.'
        if is_selected(benchmark)
        else 'One learning rate for all rows.'
        if benchmark.chosen is None
        else 'Each row has the learning rate that another benchmark chose for it, as is said above.'
    )
    edge = rows_at_the_edge(benchmark, summaries)
    if edge:
        chosen += f' At the end of those tried, so that a better one may lie beyond: {", ".join(edge)}.'
    blocks: list[Block] = [Heading('Appendix: all runs'), Text(chosen), rates_table(summaries)]
    unselected = unselected_table(summaries, seed) if is_selected(benchmark) else None
    if unselected is not None:
        blocks += [Heading('Appendix: without the seed that chose the learning rate'), unselected]
    if any(summary.runs for summary in summaries):
        blocks += [Heading('Appendix: what each number is'), stamps_table(summaries)]
    return blocks


def rows_at_the_edge(benchmark: Benchmark, summaries: Sequence[RowSummary]) -> list[str]:
    """Rows whose chosen learning rate is at an end of those tried."""
    if not is_selected(benchmark):
        return []
    ends = (min(benchmark.factors), max(benchmark.factors))
    return [summary.row.name for summary in summaries if summary.tuned and summary.factor in ends]
