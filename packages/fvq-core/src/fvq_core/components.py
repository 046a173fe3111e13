"""Imports every component that a tokenizer is made of, so that its registrations take effect.

Runner, hooks, tasks and schedules are imported when their registries are first read; see `registry`.
"""

from . import autoencoders, data, losses, tokenizer
from .data import seekable_sampler
from .losses import adversarial, discriminators

__all__ = ['adversarial', 'autoencoders', 'data', 'discriminators', 'losses', 'seekable_sampler', 'tokenizer']
