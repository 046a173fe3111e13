"""Protocol presets: everything that a number depends on, declared once and printed with it."""

from .find_preset import PRESETS, find_preset
from .preset import Crop, Preset

__all__ = ['PRESETS', 'Crop', 'Preset', 'find_preset']
