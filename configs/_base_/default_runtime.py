"""Hooks, logging, seed and device, for every run."""

from mmengine.hooks import ParamSchedulerHook
from mmengine.visualization import TensorboardVisBackend, Visualizer

from fvq_core.training.hooks import CheckpointHook, ProgressHook, TrainingLogHook
from fvq_eval.hooks import CurvesHook, ReportHook

default_hooks = dict(
    runtime_info=None,
    timer=None,
    sampler_seed=None,
    logger=None,
    param_scheduler=dict(type=ParamSchedulerHook),
    training_log=dict(type=TrainingLogHook, interval=10),
    progress=dict(type=ProgressHook, interval=50),
    probe=None,  # for instance default_hooks.probe.type=GradientProbeHook
    ema=None,  # for instance --cfg-options default_hooks.ema.type=EMAHook default_hooks.ema.decay=0.999
    checkpoint=dict(type=CheckpointHook, interval=1000, max_keep=3),
    curves=dict(type=CurvesHook),
    report=dict(type=ReportHook),
)
visualizer = dict(type=Visualizer, vis_backends=[dict(type=TensorboardVisBackend)])
randomness = dict(seed=0)
device = 'auto'
log_level = 'INFO'
