"""A small FVQ tokenizer for generation: the bundled photos as 8x8 codes, each crop most of a photo. The first step of `make sample`."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

for half in (model.tokenizer.encoder, model.tokenizer.decoder):
    half.update(ch_mult=(1, 1, 2, 2), num_res_blocks=(0, 1, 1, 1))
del half
train_dataloader.dataset.update(short_side=72)
val_dataloader.dataset.update(split='train', short_side=72, crops=100)
train_cfg.update(max_iters=400, val_interval=200)
default_hooks.report.pop('dataset')  # it trains on crops that show most of a photo; those are what its picture shows
