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
from fvq_core.files.markdown import markdown_table

from ..metrics.rounding import IN_WORDS
from .find_preset import PRESETS, find_preset
from .preset import Preset
from .protocol_facts import text

NOTHING = '-'


def tables() -> str:
    """Two tables, a row for each preset: what features are taken of, and what images are compared by."""
    features = ['preset', 'crop', 'pixels of features', 'resize', 'compared with', 'scores of features']
    images = ['preset', 'PSNR', 'SSIM', 'LPIPS']
    first = markdown_table(features, [feature_cells(preset) for preset in PRESETS.values()])
    return f'{first}\n\n{markdown_table(images, [image_cells(preset) for preset in PRESETS.values()])}'


def feature_cells(preset: Preset) -> list[str]:
    """A row of the first table."""
    conventions = preset.features
    splits = (
        f'{conventions.is_splits} split{"s" * (conventions.is_splits > 1)}'
        if conventions.is_splits
        else f'splits of {conventions.is_split_size:,}'
    )
    details = {  # what numbers of a score differ in
        'inception_score': f' ({splits}, {"in order" if conventions.is_shuffle_seed is None else "shuffled"})',
        'precision_recall': f' ({conventions.pr_distances} distances)',
    }
    scores = ', '.join(f'{metric}{details.get(metric, "")}' for metric in conventions.metrics)
    words = f'{IN_WORDS[preset.rounding]}{"; JPEG of default quality on both sides" if preset.codec else ""}'
    return [f'`{preset.name}`', str(preset.crop), words, preset.preprocessing, preset.reference_words, scores]


def image_cells(preset: Preset) -> list[str]:
    """A row of the second table."""
    ssim = [*([preset.ssim] if preset.ssim else []), *(['MS-SSIM of five scales'] if preset.ms_ssim else [])]
    cells = (text([*map(str, some)]) if some else NOTHING for some in (preset.psnr, ssim, preset.lpips))
    return [f'`{preset.name}`', *cells]


@command
def main(names: Sequence[str] | None) -> None:
    """Print all presets, one, or the difference of two."""
    match list(names or ()):
        case []:
            print(tables())
        case [name]:
            print(find_preset(name))
        case [first, second]:
            differing = find_preset(first).difference(find_preset(second))
            print(
                markdown_table(['', f'`{first}`', f'`{second}`'], [[key, *words] for key, words in differing.items()])
            )
        case more:
            raise UserError(f'table: expected at most two presets, got {", ".join(more)}; compare them two by two.')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
