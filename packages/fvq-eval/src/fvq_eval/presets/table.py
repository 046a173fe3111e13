"""Presets side by side in Markdown, from the objects themselves.

python -m fvq_eval.presets.table              all
python -m fvq_eval.presets.table ibq          one, field by field
python -m fvq_eval.presets.table ibq strict   the fields in which two differ
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fvq_core.commands.command import command
from fvq_core.errors import UserError

from ..metrics.rounding import IN_WORDS
from .find_preset import PRESETS, find_preset
from .preset import Preset
from .protocol_facts import text

NOTHING = '-'


def lines() -> list[str]:
    """Two tables, a row for each preset: what features are taken of, and what images are compared by."""
    presets = list(PRESETS.values())
    features = ['preset', 'crop', 'pixels of features', 'resize', 'compared with', 'scores of features']
    images = ['preset', 'PSNR', 'SSIM', 'LPIPS']
    return [
        *markdown(features, [feature_cells(preset) for preset in presets]),
        '',
        *markdown(images, [image_cells(preset) for preset in presets]),
    ]


def difference_lines(first: str, second: str) -> list[str]:
    """A table of the fields in which two presets, by name, are declared otherwise."""
    differing = find_preset(first).difference(find_preset(second))
    return markdown(['', f'`{first}`', f'`{second}`'], [[key, *words] for key, words in differing.items()])


def feature_cells(preset: Preset) -> list[str]:
    """A row of the first table."""
    codec = '; JPEG of default quality on both sides' if preset.codec else ''
    scores = ', '.join(score_words(preset, metric) for metric in preset.features.metrics)
    words = f'{IN_WORDS[preset.rounding]}{codec}'
    return [f'`{preset.name}`', str(preset.crop), words, preset.preprocessing, preset.reference_words, scores]


def score_words(preset: Preset, metric: str) -> str:
    """A score, with what numbers of it differ in."""
    conventions = preset.features
    if metric == 'inception_score':
        splits = (
            f'{conventions.is_splits} splits' if conventions.is_splits else f'splits of {conventions.is_split_size:,}'
        )
        return f'{metric} ({splits}, {"in order" if conventions.is_shuffle_seed is None else "shuffled"})'
    return f'{metric} ({conventions.pr_distances} distances)' if metric == 'precision_recall' else metric


def image_cells(preset: Preset) -> list[str]:
    """A row of the second table."""
    ssim = [*([preset.ssim] if preset.ssim else []), *(['MS-SSIM of five scales'] if preset.ms_ssim else [])]
    return [
        f'`{preset.name}`',
        *(text([*map(str, some)]) if some else NOTHING for some in (preset.psnr, ssim, preset.lpips)),
    ]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f'| {" | ".join(cells)} |' for cells in (head, ['---'] * len(head), *rows)]


@command
def main(names: Sequence[str] | None) -> None:
    """Print all presets, one, or the difference of two."""
    match list(names or ()):
        case []:
            shown = lines()
        case [name]:
            shown = [str(find_preset(name))]
        case [first, second]:
            shown = difference_lines(first, second)
        case more:
            raise UserError(f'table: expected at most two presets, got {", ".join(more)}; compare them two by two.')
    print('\n'.join(shown))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
