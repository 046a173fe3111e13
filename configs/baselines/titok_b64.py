"""TiTok-B (Yu et al., 2024), stage 2 of 2: pixels from the 64 codes of `titok_b64_stage1.py`, whose tokenizer it starts from."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_flipped_crop import *
    from .._base_.models.titok_stage2 import *
    from .._base_.schedules.titok_500k import *

for half in (model.tokenizer.encoder, model.tokenizer.decoder):
    half.update(width=768, depth=12, heads=12, tokens=64)
del half
load_from = 'work_dirs/titok_b64_stage1/tokenizer'
paper = dict(rows=['t8.21'], rfid_in1k=1.70)
