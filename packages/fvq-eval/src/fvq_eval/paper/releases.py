"""The released weights that `tools/convert.py` reads: who publishes them, for which configs, under which licence."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from typing import Any

from fvq_core.config.find import find_config

RELEASES = 'configs/paper/releases.csv'


@dataclass(frozen=True)
class Release:
    """Weights of another project.

    Attributes:
        peer: What `tools/convert.py` calls their layout.
        repository: On GitHub.
        licence: Of the repository, by its licence file; `none` if it has none.
        weights_licence: Of the weights, where the repository names one for them; '' if it does not.
    """

    peer: str
    repository: str
    licence: str
    weights_licence: str

    def __str__(self) -> str:
        licence = 'no licence file' if self.licence == 'none' else self.licence
        return f'{self.repository}, {f"weights {self.weights_licence}" if self.weights_licence else licence}'

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def releases() -> dict[str, Release]:
    """The release of each config that has one, by the config's name in `fvq_core.zoo.list_models()`."""
    found = {}
    with find_config(RELEASES).open(newline='') as file:
        for line in csv.DictReader(file):
            models = line.pop('models').split()
            found |= dict.fromkeys(models, Release(**line))
    return found
