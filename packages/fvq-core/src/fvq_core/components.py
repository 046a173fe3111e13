"""Imports every component that a tokenizer is made of, so that its registrations take effect.

Runner, hooks, tasks and schedules are imported when their registries are first read; see `registry.py`.
"""

from . import adversarial, data, decoders, discriminators, encoders, losses, tokenizer
from .data import seekable_sampler

__all__ = [
    'adversarial',
    'data',
    'decoders',
    'discriminators',
    'encoders',
    'losses',
    'seekable_sampler',
    'tokenizer',
]
