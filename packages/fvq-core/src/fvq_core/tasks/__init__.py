"""Tasks: the mmengine models that own `train_step`."""

from .tokenizer_task import TokenizerTask

__all__ = ['TokenizerTask']
