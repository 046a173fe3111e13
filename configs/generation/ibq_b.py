"""IBQ-B: 343 M parameters, on the codes of IBQ with 4 residual blocks a level. 8 devices with 96 images each.

As in the release, codes are made of a new random crop of each image each time. A store is faster and trains too: set
`train_dataloader.dataset` to `CodesDataset`, as `var_d16_fvq` does, after `tools/extract_codes.py ... --crops random 10`."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop_images import *
    from .._base_.models.ibq_transformer import *
    from .._base_.schedules.ibq_transformer_300e import *

model.tokenizer = 'work_dirs/ibq_16k_4res/tokenizer'
default_hooks.report.sampling.update(cfg_scale=2.25, temperature=1.1)
paper = dict(
    rows=['t11.28'],
    tokenizer='configs/baselines/ibq_16k_4res.py',
    fid=2.88,
    inception_score=254.4,
    precision=0.84,
    recall=0.51,
)
