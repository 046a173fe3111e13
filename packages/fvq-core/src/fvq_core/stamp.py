"""The stamp of a number: its preset, how many images, whether these were enough, and versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import __version__

PARTIAL_MARK, TOO_FEW_MARK = '†', '‡'  # in tables, whose cells have no room for a stamp


def stamp(number: Mapping[str, Any]) -> str:
    """A number's preset and protocol in one sentence, with what is missing of its images.

    Args:
        number: The fields of a `MetricValue`, or what a JSON file holds of them.
    """
    samples, required, too_few = (number.get(key) for key in ('samples', 'required', 'too_few'))
    counted = isinstance(samples, int) and isinstance(required, int)
    partial = f'partial, {samples:,} of {required:,} images; ' if counted and samples < required else ''
    preset = f'{number["preset"]}: ' if number.get('preset') else ''
    return f'{preset}{partial}{number["protocol"]}{f"; TOO FEW {too_few}" if too_few else ""}'


def image_count(count: int) -> str:
    """`1 image`, `50,000 images`."""
    return f'{count:,} image{"" if count == 1 else "s"}'


def conventions(presets: Iterable[str]) -> str:
    """`strict conventions`, `strict and ibq conventions`: each preset once, in the order of first appearance."""
    return f'{" and ".join(dict.fromkeys(presets))} conventions'


def short_stamp(metrics: Mapping[str, Any]) -> str:
    """What the numbers on one line were measured on, such as `4,096 images, strict conventions`; '' without images."""
    counted = [metric for metric in metrics.values() if metric.samples]
    if not counted:
        return ''
    return f'{image_count(max(metric.samples for metric in counted))}, {conventions(one.preset for one in counted)}'


def versions() -> dict[str, str]:
    """Versions of what a number depends on."""
    import platform

    import mmengine
    import numpy
    import torch

    return {
        'fvq': __version__,
        'torch': str(torch.__version__),
        'mmengine': mmengine.__version__,
        'numpy': numpy.__version__,
        'python': platform.python_version(),
    }
