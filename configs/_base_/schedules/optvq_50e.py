"""OptVQ's schedule (Zhang et al., 2024): 50 epochs of AdamW, 1 % of warm-up, cosine to 0; float32.

The rate is 2e-6 a sample of the batch, as the README's command has it. Norms, biases and codes do not decay. torch's
`OneCycleLR`, which the release uses, moves Adam's first beta as well, from 0.95 to 0.85 and back; here it is 0.9 throughout."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

from torch.optim import AdamW

from fvq_generators.optim import DecayByDimension

train_cfg.update(max_epochs=50)
optim_wrapper = dict(
    type=ClippedOptimWrapper,
    constructor=DecayByDimension,
    optimizer=dict(type=AdamW, lr=2e-6, betas=(0.9, 0.999), eps=1e-7, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(no_decay=['embedding']),
    max_norm=1.0,
)
auto_scale_lr.update(base_batch_size=1)
param_scheduler.update(warmup=0.01, warmup_factor=0.04, hold=0.0, decay='cosine', end_factor=0.0)
