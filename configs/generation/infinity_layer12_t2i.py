"""Infinity of 12 blocks from captions at 256x256: `infinity_layer12` of the release, 125 M parameters. Not measured.

Captions are features of Flan-T5-XL; docs/generation.md explains the folders. The release trains on images and texts that were not
published, with a schedule that is not in its repository: this is VAR's, with the script's betas and clipping. Self-correction takes
the sum of an image's codes for its latent. Guidance and temperature are those of the release's sampling."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.infinity_layer12 import *
    from .._base_.schedules.var_200e import *

from fvq_generators.data import CaptionedCodes

model.tokenizer = 'work_dirs/infinity_d32/tokenizer'
model.generator.update(caption_dim=2048, caption_tokens=512, rotary_grid=[64, 64])
train_dataloader.update(
    dataset=dict(
        type=CaptionedCodes,
        root='data/codes/laion_coco_infinity_d32',
        captions='data/captions/laion_coco_flan_t5_xl',
        images='data/laion_coco',
        tokens=512,
        channels=2048,
    )
)
optim_wrapper.update(max_norm=5.0)
optim_wrapper.paramwise_cfg = dict(no_decay=['start', 'level_embedding', 'offset_PD', 'unconditional_TC'])
optim_wrapper.optimizer.update(betas=(0.9, 0.97))
default_hooks.report.sampling = dict(cfg_scale=4.0, temperature=0.5, top_p=0.97)
