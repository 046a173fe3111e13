"""The numbers of several presets on the same images, beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fvq_core.metric import MetricValue
from fvq_core.stamp import TOO_FEW_MARK, image_count

from ..presets.preset import Preset

NOTHING = '-'


def side_by_side(presets: Sequence[Preset], values: Mapping[str, MetricValue]) -> list[str]:
    """A table of metrics by preset with differences against the first, then the declared fields behind them.

    Returns:
        Lines; none for fewer than two presets, or if no metric is given by two of them.
    """
    given = [key.partition('/')[2] for key in values]
    metrics = [metric for metric in dict.fromkeys(given) if given.count(metric) > 1]
    if len(presets) < 2 or not metrics:
        return []
    first, *others = presets
    rows = [['', *(preset.name for preset in presets)]]
    for metric in metrics:
        base = values.get(f'{first.name}/{metric}')
        own = {preset.name: values.get(f'{preset.name}/{metric}') for preset in presets}
        rows.append([metric, *(cell(value, base, name == first.name) for name, value in own.items())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f'side by side, {counted(presets, values)}, difference against {first.name} in brackets:']
    for row in rows:
        lines.append('  '.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    if any(TOO_FEW_MARK in text for row in rows for text in row):
        lines.append(f'{TOO_FEW_MARK}: too few images for this number at all, see its protocol above')
    for preset in others:
        lines.append(f'{preset.name} differs from {first.name} in: {", ".join(first.difference(preset)) or "nothing"}')
    return lines


def counted(presets: Sequence[Preset], values: Mapping[str, MetricValue]) -> str:
    """`8 of 50,000 images (partial)`: how many images the table is of, and of how many."""
    seen = max(value.samples for value in values.values())
    wanted = max(preset.samples for preset in presets)
    if seen < wanted:
        return f'{seen:,} of {image_count(wanted)} (partial)'
    declared = any(preset.samples_from == 'user' for preset in presets)
    return f'{image_count(seen)}{" (declared as the whole set)" if declared else ""}'


def cell(value: MetricValue | None, base: MetricValue | None, is_base: bool) -> str:
    """A number, marked if it is of too few images, and its difference from the first preset's."""
    if value is None:
        return NOTHING
    text = f'{value}{TOO_FEW_MARK if value.too_few else ""}'
    return text if is_base or base is None else f'{text} ({value.value - base.value:+.3g})'
