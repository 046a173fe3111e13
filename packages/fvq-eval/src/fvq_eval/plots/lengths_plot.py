"""What methods reach after runs of different lengths: over steps, and over seconds of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import NullFormatter

from .bands import lines
from .figure import new_figure, save
from .run_curves_plot import legend_below

# For each method, for each length: steps, and for each seed the seconds and the values by measure.
Reached = Mapping[str, Mapping[int, Sequence[tuple[float, Mapping[str, float]]]]]


def plot_lengths(reached: Reached, measures: Mapping[str, str], path: Path, black: str) -> bool:
    """Draw each measure over steps (above) and over seconds (below): mean over seeds, bars between the extremes.

    Args:
        measures: Titles by key; one without values is left out.
        black: The method that is drawn in black.

    Returns:
        Whether there was anything to draw.
    """
    present = {
        key: title
        for key, title in measures.items()
        if any(key in values for runs in reached.values() for seeds in runs.values() for _, values in seeds)
    }
    if not present:
        return False
    figure, axes = new_figure(3.6 * len(present) + 1, 6.2, 2, len(present))
    lengths = sorted({steps for runs in reached.values() for steps in runs})
    styles = lines([name for name in reached if name != black]) | {black: ('black', '-')}
    for column, (key, title) in enumerate(present.items()):
        for over, axis in (('steps', axes[column]), ('seconds of training', axes[len(present) + column])):
            for name, runs in reached.items():
                x, mean, low, high = [], [], [], []
                for steps, seeds in sorted(runs.items()):
                    values = [found[key] for _, found in seeds if key in found]
                    if values:
                        x.append(steps if over == 'steps' else sum(seconds for seconds, _ in seeds) / len(seeds))
                        mean.append(sum(values) / len(values))
                        low.append(mean[-1] - min(values))
                        high.append(max(values) - mean[-1])
                color, style = styles[name]
                axis.errorbar(x, mean, [low, high], color=color, linestyle=style, marker='o', markersize=3, label=name)
            axis.set_title(title, fontsize=10)
            axis.set_xlabel(over)
            axis.set_xscale('log')
            axis.xaxis.set_minor_formatter(NullFormatter())
            if over == 'steps':
                axis.set_xticks(lengths, [f'{steps:,}' for steps in lengths])
    legend_below(figure, axes)
    save(figure, path)
    return True
