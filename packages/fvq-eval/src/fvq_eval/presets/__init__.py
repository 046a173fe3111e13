"""Protocol presets: everything that decides on a number, declared once and printed with it."""

from .find_preset import PRESETS, find_preset
from .preset import Crop, Preset

__all__ = ['PRESETS', 'Crop', 'Preset', 'find_preset']
