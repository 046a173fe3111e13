"""FVQ-XL: LlamaGen-XL on the codes of FVQ's tokenizer, batch 1,024 (16 devices with 64 images each), 350 epochs."""

from mmengine.config import read_base

with read_base():
    from .fvq_l import *

model.generator.update(dim=1280, depth=36, heads=20)
train_dataloader.update(batch_size=64)
train_cfg.update(max_epochs=350)
default_hooks.report.sampling.update(cfg_scale=1.65)
paper = dict(rows=['t11.32'], fid=2.07, inception_score=287.0, precision=0.83, recall=0.58)
