"""Experiment trackers: TensorBoard, Weights & Biases, MLflow, or any other back-end of mmengine's visualizer.

`tools/train.py CONFIG --track wandb` adds them to a config. None of them can stop a run, or hold it up for long.
"""

from .mlflow_tracker import MLflowTracker
from .tensorboard_tracker import TensorboardTracker
from .trackers import Trackers
from .tracking_hook import TrackingHook
from .wandb_tracker import WandbTracker

__all__ = ['MLflowTracker', 'TensorboardTracker', 'Trackers', 'TrackingHook', 'WandbTracker']
