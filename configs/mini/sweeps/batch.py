"""How many tokens a step does a codebook need? Batches of 4, 16 and 64 crops: 1, 4 and 16 tokens for each of 1,024 codes.

The number of steps and the rate stay, so a larger batch also sees more crops. The rows differ in more than their quantizer:
pass `--allow-differences`. `tools/benchmark.py` trains a row for each cell; the config itself is vanilla VQ."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

quantizer = 'model.tokenizer.quantizer'
normal = dict(type='NormalInit', std=1.0)
sweep = dict(
    projector=dict(
        vq={},
        linear={f'{quantizer}.projector': dict(type='LinearProjector'), f'{quantizer}.init': normal},
        fvq={f'{quantizer}.projector': dict(type='VQBridge', patch_size=4), f'{quantizer}.init': normal},
    ),
    batch=dict(
        batch_4={'train_dataloader.batch_size': 4},
        batch_16={'train_dataloader.batch_size': 16},
        batch_64={'train_dataloader.batch_size': 64},
    ),
)
del quantizer, normal
