"""FVQ-L: LlamaGen-L on the codes of FVQ's tokenizer, batch 2,048 (8 devices with 256 images each), learning rate annealed.

The paper's tables 2 and 11 differ in the inception score: 276.6 and 275.8."""

from mmengine.config import read_base

with read_base():
    from .llamagen_l import *

train_dataloader.update(batch_size=256)
train_dataloader.dataset.update(root='data/codes/imagenet_fvq_16k')
auto_scale_lr.update(enable=True)
param_scheduler.update(hold=0.05, decay='linear', end_factor=0.01)
default_hooks.report.sampling.update(cfg_scale=1.75)
paper = dict(rows=['t11.31'], fid=2.39, inception_score=276.6, precision=0.84, recall=0.56)
