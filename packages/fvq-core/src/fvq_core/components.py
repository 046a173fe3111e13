"""Imports what a tokenizer is made of, so that its registrations take effect.

Data sets, losses, runner, hooks, tasks and schedules are imported when their registries are first read; see `registry`.
"""

from . import autoencoders, tokenizer

__all__ = ['autoencoders', 'tokenizer']
