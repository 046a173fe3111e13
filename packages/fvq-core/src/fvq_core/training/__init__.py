"""Training: the one Runner that every task uses (mmengine's, with exact resume and atomic checkpoints), its loops and hooks."""

from .evaluation_loop import EvaluationLoop
from .optim_wrapper import ClippedOptimWrapper
from .runner import Runner
from .train_loop import TrainLoop

__all__ = ['ClippedOptimWrapper', 'EvaluationLoop', 'Runner', 'TrainLoop']
