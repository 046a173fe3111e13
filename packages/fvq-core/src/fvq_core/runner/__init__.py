"""The one Runner that every task uses: mmengine's, with exact resume, atomic checkpoints and its own loops."""

from .evaluation_loop import EvaluationLoop
from .optim_wrapper import ClippedOptimWrapper
from .runner import Runner
from .train_loop import TrainLoop

__all__ = ['ClippedOptimWrapper', 'EvaluationLoop', 'Runner', 'TrainLoop']
