"""The schedule of IBQ's generators: batch 768, warm-up over 2 % of the run, held for 5 % of the rest, then linear.

As released, every parameter decays: its groups of biases and norms are given the decay of the others after the first step. The
release trains in float16; here it is bfloat16."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=AdamW, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    max_norm=1.0,
    precision='bfloat16',
)
auto_scale_lr.update(base_batch_size=768)
param_scheduler.update(warmup=0.02, hold=0.05, decay='linear', end_factor=0.1)
