"""Presets by name."""

from __future__ import annotations

from fvq_core.errors import UserError, nearest_hint
from fvq_core.registry import load_plugins

from .adm import ADM
from .fvq_release import FVQ_RELEASE
from .ibq import IBQ
from .llamagen import LLAMAGEN
from .preset import Preset
from .rqvae import RQVAE
from .strict import STRICT
from .studiogan import STUDIOGAN

PRESETS = {preset.name: preset for preset in (ADM, LLAMAGEN, FVQ_RELEASE, IBQ, RQVAE, STRICT, STUDIOGAN)}


def find_preset(name: str) -> Preset:
    """The preset of that name; the error for an unknown one names the nearest."""
    if name not in PRESETS:
        load_plugins()  # one of them may add it
    if name not in PRESETS:
        raise UserError(f"there is no preset '{name}'; {nearest_hint(name, PRESETS)}")
    return PRESETS[name]
