"""What the Runner trains."""

from .frozen_latents_task import FrozenLatentsTask
from .generator_task import GeneratorTask

__all__ = ['FrozenLatentsTask', 'GeneratorTask']
