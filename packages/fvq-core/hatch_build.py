"""The configs of the repository travel with the package, so that `fvq train configs/fvq/fvq_photos.py` needs no clone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Configs(BuildHookInterface):
    """Adds `configs/` of the clone; a wheel that is built from an sdist finds it where the sdist put it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        configs = Path(self.root).parents[1] / 'configs'
        if version == 'standard' and configs.is_dir():
            source = 'src/' if self.target_name == 'sdist' else ''
            build_data['force_include'][str(configs)] = f'{source}fvq_core/configs'
