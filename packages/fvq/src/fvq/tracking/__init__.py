"""Experiment trackers: TensorBoard, Weights & Biases, MLflow, or any other back-end of mmengine's visualizer.

`tools/train.py CONFIG --track wandb` adds them to a config. None of them can stop a run, or hold it up for long.
"""
