"""IBQ-B: 343 M parameters, on the codes of IBQ with 4 residual blocks a level. 8 devices with 96 images each.

The release encodes a new random crop of each image each time; extract many: `tools/extract_codes.py ... --crops random 10`."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.ibq_transformer import *
    from .._base_.schedules.ibq_transformer_300e import *

train_dataloader.update(batch_size=96)
train_dataloader.dataset.update(root='data/codes/imagenet_ibq_16k_4res')
default_hooks.report.sampling.update(cfg_scale=2.25, temperature=1.1)
paper = dict(
    rows=['t11.28'],
    tokenizer='configs/baselines/ibq_16k_4res.py',
    fid=2.88,
    inception_score=254.4,
    precision=0.84,
    recall=0.51,
)
