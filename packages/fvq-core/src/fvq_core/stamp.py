"""What stands beside a number: the preset, how many images, and whether these were enough."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from . import __version__

# How protocols say that there were fewer images than the preset asks for, or than a number needs.
PARTIAL = re.compile(r'partial, [\d,]+ of ([\d,]+) images; ')
TOO_FEW = 'TOO FEW'
PARTIAL_MARK, TOO_FEW_MARK = '†', '‡'  # the same in a table, where a stamp has no room


class Stamped:
    """What a protocol says, for whatever carries one."""

    protocol: str

    @property
    def preset(self) -> str:
        """The name of the preset."""
        return preset_name(self.protocol)

    @property
    def required(self) -> int | None:
        """Images that the preset asks for, where there were fewer."""
        found = PARTIAL.search(self.protocol)
        return int(found[1].replace(',', '')) if found else None

    @property
    def partial(self) -> bool:
        """Whether the preset asks for more images."""
        return self.required is not None

    @property
    def too_few(self) -> bool:
        """Whether there were too few images for what is computed."""
        return TOO_FEW in self.protocol


def preset_name(protocol: str) -> str:
    """The preset that a protocol begins with."""
    return protocol.partition(':')[0]


def image_count(count: int) -> str:
    """`1 image`, `50,000 images`."""
    return f'{count:,} image{"" if count == 1 else "s"}'


def conventions(presets: Iterable[str]) -> str:
    """`strict conventions`, of the names of presets in the order of their first."""
    return f'{" and ".join(dict.fromkeys(presets))} conventions'


def short_stamp(metrics: Mapping[str, Any]) -> str:
    """What numbers that share a line are of, such as `4,096 images, strict conventions`; empty where no image plays a part."""
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
