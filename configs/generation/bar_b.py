"""BAR-B: 415 M parameters, FID 1.13 in its paper. 16 devices with 128 images each. Not in any table of the paper.

Its tokenizer, an FSQ of 16 bits on SigLIP2, is not here: `data/codes/imagenet_64k` is a store of any with 65,536 codes."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.bar import *
    from .._base_.schedules.rar_250k import *

train_dataloader.update(batch_size=128)
train_dataloader.dataset.update(root='data/codes/imagenet_64k')
optim_wrapper.update(paramwise_cfg=dict(no_decay=['embedding', 'table', 'modulation', 'bit_head.output']))
default_hooks.report.sampling.update(cfg_scale=5.0, temperature=2.5, shares='2-2-5-7')
