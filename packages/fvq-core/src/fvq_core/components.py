"""Imports every component of this package, so that its registrations take effect."""

from . import data, decoders, encoders, hooks, losses, runner, schedules, tasks, tokenizer
from .data import seekable_sampler

__all__ = ['data', 'decoders', 'encoders', 'hooks', 'losses', 'runner', 'schedules', 'seekable_sampler', 'tasks', 'tokenizer']
