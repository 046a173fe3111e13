"""LlamaGen-XL from captions, first stage at 256x256: the released `t2i_XL_stage1_256.pt`. A row of no table of the paper.

The release trained on 50 M images of LAION-COCO with features of Flan-T5-XL, 120 places of 2,048 channels, by the recipe that is
inherited here (AdamW, constant 1e-4, batch 256, class dropout and all other dropouts 0.1); how many epochs it took was never
published, 300 is its code's default. Guidance and top-k as in its sampling. `captions` are named like the images; docs/generation.md
says how, and what to change where they are numbered.
"""

from mmengine.config import read_base

with read_base():
    from .llamagen_b import *

from fvq_generators.data import CaptionedCodes

model.generator.update(dim=1280, depth=36, heads=20, caption_dim=2048, caption_tokens=120)
train_dataloader.update(
    dataset=dict(
        type=CaptionedCodes,
        root='data/codes/laion_coco_llamagen_t2i',
        captions='data/captions/laion_coco_flan_t5_xl',
        images='data/laion_coco',
        tokens=120,
        channels=2048,
    )
)
default_hooks.report.sampling.update(cfg_scale=7.5, top_k=1000)
