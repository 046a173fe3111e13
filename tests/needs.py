"""Libraries that only extras bring, and what is skipped by name without them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DIFFUSERS = pytest.mark.skipif(find_spec('diffusers') is None, reason='needs diffusers (the extra `diffusers`)')
UNET_CONFIGS = ('adm', 'cdm', 'ldm_4_g')


def marked(names: Iterable[str]) -> list[Any]:
    """Names of configs, those whose model needs diffusers skipped without it."""
    return [pytest.param(name, marks=DIFFUSERS) if Path(name).stem in UNET_CONFIGS else name for name in names]
