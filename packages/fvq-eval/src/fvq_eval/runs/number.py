"""A stamped number as it stands in a file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from fvq_core.stamp import PARTIAL, TOO_FEW, Stamped, preset_name

WINDOW = 'training window'  # numbers of training batches; no evaluation
# What of a protocol is but a count of samples.
OF_THE_COUNT = re.compile(rf'{PARTIAL.pattern}|; {TOO_FEW}[^;]*| and \d+ sample features')


@dataclass(frozen=True)
class Number(Stamped):
    """A stamped number; see `MetricValue`.

    Attributes:
        metric: Name.
        value: As in the file.
        unit: Of it.
        protocol: Preset and what it means, in words.
        samples: Images.
        weights: Of which weights, or of which images where there is no model.
    """

    metric: str
    value: float
    unit: str
    protocol: str  # pyrefly: ignore[bad-override]  # frozen, which `Stamped` need not know
    samples: int
    weights: str

    @property
    def way(self) -> str:
        """The protocol without what the number of samples alone puts into it: how the number was taken."""
        return OF_THE_COUNT.sub('', self.protocol)

    @property
    def count(self) -> str:
        """Images, and of how many."""
        return f'{self.samples:,}' if self.required is None else f'{self.samples:,} of {self.required:,}'


def read_number(name: str, stamped: Mapping[str, Any]) -> Number | str | None:
    """A stamped number; None for one that no image plays a part in; why it cannot be compared, for any other.

    Its name is what stands after its own preset and a slash, and all of it where anything else stands before a slash.
    """
    protocol, value, samples = str(stamped.get('protocol', '')), stamped.get('value'), stamped.get('samples')
    if protocol.startswith(WINDOW) or samples == 0:
        return None
    whole = isinstance(samples, int) and not isinstance(samples, bool)
    if not is_number(value) or not whole or ':' not in protocol:
        return f"'{name}' does not say its value, preset and images: not compared"
    metric = name.removeprefix(f'{preset_name(protocol)}/')
    return Number(metric, value, str(stamped.get('unit', '')), protocol, samples, str(stamped.get('weights', '')))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
