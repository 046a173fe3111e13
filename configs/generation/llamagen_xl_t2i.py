"""LlamaGen-XL from captions, first stage at 256x256: the released `t2i_XL_stage1_256.pt`. Not in any table of the paper.

The release trained on 50 M images of LAION-COCO with features of Flan-T5-XL, 120 tokens of 2,048 channels. The recipe is the
inherited one (AdamW, constant 1e-4, batch 256, class dropout and all other dropouts 0.1). The number of epochs was never
published; 300 is the default of its code. Guidance and top-k are those of its sampling. `captions` are named like the images;
docs/generation.md explains that, and what to change if they are numbered."""

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
