"""The page of a study: what was asked, what came out, and what was not measured, for a reader with two minutes."""

from __future__ import annotations

from collections.abc import Sequence

from ..plots.lengths_plot import plot_lengths
from ..reports.blocks import Block, Code, Heading, Picture, Table, Text
from ..reports.html import to_html
from ..reports.markdown import to_markdown
from ..reports.output_files import write_csv
from .contrasts import MEASURES, Contrast, contrasts
from .csv_files import write_photo_scores
from .grid import SMALLEST_SIDE, draw_grid
from .mixed_bootstrap import FEWEST_SEEDS
from .scheduler import Benchmark
from .sentences import recorded
from .study import Study, study_key
from .study_tables import Summaries, contrasts_table, rows_table, setting_table
from .summary import RowSummary

DRAWN = {**{measure.key: measure.title for measure in MEASURES}, 'usage': 'usage %'}
HOW_TO_READ = (
    'Differences are between runs of one seed, so that both start with the same encoder and see the same crops in the same '
    "order. The first interval is Student's t over seeds. The second draws seeds and photos, each photo with all its crops, "
    f'and is given from {FEWEST_SEEDS} seeds on. An interval that contains 0 is in parentheses. p is two-sided, after Holm '
    'over all claims; a claim holds if it is below 0.05. Only seeds of the plan count, and before all of them have ended in '
    'both rows there is neither p nor verdict. A failed seed is named, and is in no difference; a row that failed with one '
    'is not called better. "Seeds show from" is the true difference that so many seeds, spread '
    'as these are, would find in four of five cases: a smaller one may be there and be missed.'
)
EXPLORATORY = (
    'No claim was planned for these lengths: intervals are not corrected for their number, and of twenty of them one '
    'leaves 0 out by chance.'
)


def write_study(
    benchmark: Benchmark, summaries: Sequence[RowSummary], study: Study, command: str, notes: Sequence[str]
) -> list[Contrast]:
    """Write `study.html`, `study.md`, `contrasts.csv` and `photos.csv` into the benchmark's folder."""
    folder = benchmark.work_dir
    by_length = {study_key(each.row): each for each in summaries if each.row.cfg is not None}
    found = contrasts(by_length, study.claims, study.claimed_at, study.seeds)
    write_csv(folder / 'contrasts.csv', [csv_line(each) for each in found])
    write_photo_scores(summaries, folder / 'photos.csv')
    planned = f'Planned in {study.plan}, with seeds {", ".join(map(str, study.seeds))}.'
    blocks: list[Block] = [Heading(study.title, 1), Text(study.question), Text(planned)]
    blocks += [*answers(found, study), *setting(by_length), *results(by_length, found)]
    blocks += [*pictures(benchmark, by_length, study), *open_points(by_length, study)]
    blocks += [Heading('How it was made'), Code(command), Text(' '.join([*notes, *recorded(summaries)]))]
    (folder / 'study.md').write_text(to_markdown(blocks))
    (folder / 'study.html').write_text(to_html(blocks))
    return found


def answers(found: Sequence[Contrast], study: Study) -> list[Block]:
    """The claims and what became of them."""
    claims = [each for each in found if each.claimed]
    if not claims:
        return [
            Heading('Claims'),
            Text(f'No row with {study.claimed_at:,} steps is in this call, so no claim is tested.'),
        ]
    verdicts = '; '.join(f'{each.row} minus {each.minus}, {each.measure.title}: {each.verdict}' for each in claims)
    return [
        Heading(f'Claims, after {study.claimed_at:,} steps'),
        Text(f'{verdicts}.'),
        contrasts_table(claims, claimed=True),
        Text(HOW_TO_READ),
    ]


def setting(summaries: Summaries) -> list[Block]:
    """What every row shares."""
    coded = [each for each in summaries.values() if each.row.codebook_size and not each.row.refusal]
    return [Heading('Setting'), setting_table(coded[0])] if coded else []


def results(summaries: Summaries, found: Sequence[Contrast]) -> list[Block]:
    """All rows, and the differences that no claim is about."""
    rows = rows_table(summaries)
    blocks: list[Block] = [] if rows is None else [Heading('Every row'), rows]
    if rows is not None:
        blocks.append(
            Text(
                'Mean ± standard deviation over seeds. The cap is the usage that even draws would show, of as many codes as '
                'the held-out photos have positions without overlap.'
            )
        )
    others = [each for each in found if not each.claimed and each.difference is not None]
    if others:
        blocks += [Heading('Exploratory: other lengths'), contrasts_table(others, claimed=False), Text(EXPLORATORY)]
    return blocks


def pictures(benchmark: Benchmark, summaries: Summaries, study: Study) -> list[Block]:
    """Curves over lengths, and the same photos through every row."""
    blocks: list[Block] = []
    reached: dict[str, dict[int, list[tuple[float, dict[str, float]]]]] = {}
    for (name, steps), summary in summaries.items():
        runs = [
            (result['seconds'], {key: result['metrics'][key]['value'] for key in DRAWN if key in result['metrics']})
            for result in summary.results
        ]
        if runs:
            reached.setdefault(name, {})[steps] = runs
    curves, grid = (benchmark.work_dir / name for name in ('study_curves.png', 'study_grid.png'))
    black = study.claims[0][0]
    if plot_lengths(reached, DRAWN, curves, black):
        caption = (
            'Each point is the end of runs of that length, each with a schedule of its own; mean over seeds, bars from the '
            f'smallest to the largest; {black} in black. Above over steps, below over seconds of training.'
        )
        blocks += [Heading('Over steps and over time'), Picture(curves, caption)]
    shown = [summary for (_, steps), summary in summaries.items() if steps == study.claimed_at and summary.runs]
    if draw_grid(sorted(shown, key=lambda each: -each.cells['psnr'].mean), grid):
        caption = f'Held-out photos through every row, first seed, enlarged to {SMALLEST_SIDE} pixels.'
        blocks += [Heading('The same photos'), Picture(grid, caption)]
    return blocks


def open_points(summaries: Summaries, study: Study) -> list[Block]:
    """What is missing of the plan, and what it left out."""
    missing = [
        [name, f'{steps:,}', summary.failure or f'{len(summary.tried) - len(summary.runs)} run(s) to come']
        for (name, steps), summary in summaries.items()
        if summary.failure or len(summary.runs) < len(summary.tried)
    ]
    blocks: list[Block] = [Heading('What was not measured')]
    if missing:
        blocks.append(Table(['row', 'steps', 'missing'], missing, text=True))
    return [*blocks, *map(Text, study.not_measured)]


def csv_line(each: Contrast) -> dict[str, object]:
    """A contrast for other programs, with the difference of every seed."""
    found = each.difference
    low, high = (None, None) if found is None or found.interval is None else found.interval
    both = (None, None) if each.mixed is None else each.mixed
    return {
        'row': each.row,
        'minus': each.minus,
        'steps': each.steps,
        'measure': each.measure.key,
        'claimed': each.claimed,
        'planned': ' '.join(map(str, each.planned)),
        'ended': ' '.join(map(str, each.ended)),
        'seeds': ' '.join(map(str, each.seeds)),
        'differences': '' if found is None else ' '.join(f'{value:.6g}' for value in found.values),
        'mean': None if found is None else found.mean,
        'low': low,
        'high': high,
        'low_seeds_photos': both[0],
        'high_seeds_photos': both[1],
        'p': each.p,
        'p_holm': each.adjusted,
        'verdict': each.verdict,
    }
