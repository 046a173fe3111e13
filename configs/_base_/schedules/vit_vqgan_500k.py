"""ViT-VQGAN's schedule (Yu et al., 2022, section 4.1): 500,000 iterations at batch 256, up to 1e-4 in the first 50,000, then
down to 5e-5 along a cosine; decoupled weight decay for tokenizer and discriminator."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

from torch.optim import AdamW

train_cfg = dict(type=TrainLoop, max_iters=500000, val_interval=20000)
optim_wrapper.update(
    optimizer=dict(type=AdamW, lr=1e-4, betas=(0.9, 0.99), weight_decay=1e-4, fused=True),
    max_norm=None,
)
auto_scale_lr.update(base_batch_size=256)
param_scheduler.update(warmup=50000, warmup_factor=0.0, hold=0.0, decay='cosine', end_factor=0.5)
