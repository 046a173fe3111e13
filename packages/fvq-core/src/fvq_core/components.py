"""Imports every component that a tokenizer is made of, so that its registrations take effect.

Runner, hooks, tasks and schedules are imported when their registries are first read; see `registry.py`.
"""

from . import data, decoders, encoders, losses, tokenizer
from .data import seekable_sampler

__all__ = ['data', 'decoders', 'encoders', 'losses', 'seekable_sampler', 'tokenizer']
