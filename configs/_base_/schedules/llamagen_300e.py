"""LlamaGen's schedule for generators: 300 epochs of AdamW at a constant learning rate that does not follow the batch."""

from mmengine.config import read_base

with read_base():
    from ..default_runtime import *

from torch.optim import AdamW

from fvq_core.training import ClippedOptimWrapper, TrainLoop
from fvq_core.training.hooks import TrainingLogHook
from fvq_core.training.schedules import WarmupHoldDecayLR
from fvq_generators.hooks import GeneratorReportHook, ShardingHook
from fvq_generators.optim import DecayByDimension

train_cfg = dict(type=TrainLoop, max_epochs=300)
optim_wrapper = dict(
    type=ClippedOptimWrapper,
    constructor=DecayByDimension,
    optimizer=dict(type=AdamW, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    max_norm=1.0,
    precision='bfloat16',
)
auto_scale_lr = dict(enable=False, base_batch_size=256)
param_scheduler = dict(type=WarmupHoldDecayLR, warmup=0, decay='none')

default_hooks.update(
    training_log=dict(type=TrainingLogHook, interval=50),
    sharding=dict(type=ShardingHook),
    checkpoint=dict(interval=5000),
    samples=None,  # for instance default_hooks.samples.type=SampleGridHook default_hooks.samples.tokenizer=FOLDER
    report=dict(type=GeneratorReportHook, sampling=dict(cfg_scale=2.0)),
)
