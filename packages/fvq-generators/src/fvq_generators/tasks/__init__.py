"""What the Runner trains."""

from .generator_task import GeneratorTask

__all__ = ['GeneratorTask']
