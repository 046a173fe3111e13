"""RQ-VAE, 50 epochs; the warm-up stays half an epoch."""

from mmengine.config import read_base

with read_base():
    from .rqvae_10e import *

train_cfg.update(max_epochs=50)
param_scheduler.update(warmup=0.01)
paper = dict(rows=['t4.2', 't8.24'], rfid_in1k=3.20)
