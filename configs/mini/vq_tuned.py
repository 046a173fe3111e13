"""Vanilla VQ at its best here: codes start as k-means centres of the latents and learn ten times as fast."""

from mmengine.config import read_base

with read_base():
    from .vq_kmeans import *

optim_wrapper.update(paramwise_cfg=dict(custom_keys={'quantizer.embedding': dict(lr_mult=10.0)}))
