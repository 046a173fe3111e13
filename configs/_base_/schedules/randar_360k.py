"""RandAR's schedule: 360,000 iterations at batch 1,024, 50,000 of them warm-up, then along a cosine to a twentieth.

As released, a step is left out if the norms of the parameters' gradients sum up to more than 10."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

from fvq_generators.optim import SkippingOptimWrapper

train_cfg = dict(type=TrainLoop, max_iters=360_000)
optim_wrapper.update(type=SkippingOptimWrapper, skip_above=10.0)
optim_wrapper.optimizer.update(lr=4e-4)
auto_scale_lr.update(base_batch_size=1024)
param_scheduler.update(warmup=50_000, warmup_factor=0.0, hold=0, decay='cosine', end_factor=0.05)
