"""The schedule of TiTok's stage 2: half as long, with the usual second moment of AdamW."""

from mmengine.config import read_base

with read_base():
    from .titok_1000k import *

train_cfg.update(max_iters=500000)
optim_wrapper.optimizer.update(betas=(0.9, 0.999))
optim_wrapper.parts.tokenizer.paramwise_cfg.update(no_decay=['positions', 'codebook'])  # of what is not frozen
param_scheduler.update(warmup=5000)
