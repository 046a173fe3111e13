"""The checkpoint layouts of other projects' generators: maps from their keys to ours, and configs read off their shapes."""

from .llamagen import LlamaGenImporter, import_generator

__all__ = ['LlamaGenImporter', 'import_generator']
