"""Tasks: the mmengine models that own `train_step`."""

from .task import MicroBatch, Task
from .tokenizer_task import Reconstructed, TokenizerTask

__all__ = ['MicroBatch', 'Reconstructed', 'Task', 'TokenizerTask']
