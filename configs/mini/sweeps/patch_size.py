"""How many codes to a token? 1, 4, 16 and 64 of 1,024: from as many tokens as codes down to sixteen.

`tools/benchmark.py` trains a row for each; the config itself is FVQ, with 4. `--size k4096` asks it of a larger codebook."""

from mmengine.config import read_base

with read_base():
    from ..fvq import *

patch = 'model.tokenizer.quantizer.projector.patch_size'
sweep = dict(patch=dict(patch_1={patch: 1}, patch_4={patch: 4}, patch_16={patch: 16}, patch_64={patch: 64}))
del patch
