"""Imports what a tokenizer is made of, so that its registrations take effect.

Data sets, losses, runner, hooks, tasks and schedules are imported when their registries are first read; see `registry`.
"""

from . import autoencoders, tokenizer
from .registry.discovery import import_submodules

__all__ = ['autoencoders', 'tokenizer']

import_submodules(autoencoders.__name__)
