"""Tasks: the mmengine models that own `train_step`."""

from .task import Task
from .tokenizer_task import TokenizerTask

__all__ = ['Task', 'TokenizerTask']
