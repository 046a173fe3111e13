"""The numbers of several presets on the same images, beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fvq_core.metric import MetricValue

from ..presets.preset import Preset

NOTHING = '-'


def side_by_side(presets: Sequence[Preset], values: Mapping[str, MetricValue]) -> list[str]:
    """A table of metrics by preset with differences against the first, then the declared fields behind them.

    Args:
        presets: In the order of the columns.
        values: Numbers by `preset/name`.

    Returns:
        Lines; none where there are fewer than two presets or no metric that two of them give.
    """
    given = [key.partition('/')[2] for key in values]
    metrics = [metric for metric in dict.fromkeys(given) if given.count(metric) > 1]
    if len(presets) < 2 or not metrics:
        return []
    first, *others = presets
    rows = [['', *(preset.name for preset in presets)]]
    for metric in metrics:
        base = values.get(f'{first.name}/{metric}')
        rows.append(
            [metric, *(cell(values.get(f'{preset.name}/{metric}'), base, preset is first) for preset in presets)]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f'side by side, in brackets the difference against {first.name}:']
    for row in rows:
        lines.append('  '.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    for preset in others:
        lines.append(f'{preset.name} differs from {first.name} in: {", ".join(first.difference(preset)) or "nothing"}')
    return lines


def cell(value: MetricValue | None, base: MetricValue | None, is_base: bool) -> str:
    """A number, and how far it is from that of the first preset."""
    if value is None:
        return NOTHING
    return str(value) if is_base or base is None else f'{value} ({value.value - base.value:+.3g})'
