"""Codes per token against K: 1, 4, 16 and 64 codes a token of 256, 1,024 and 4,096 codes.

Is there a best number of codes a token, or a best number of tokens? A diagonal of this table has as many tokens everywhere.
`tools/benchmark.py` trains a row for each cell; the config itself is FVQ."""

from mmengine.config import read_base

with read_base():
    from ..fvq import *

quantizer = 'model.tokenizer.quantizer'
patch, codes = f'{quantizer}.projector.patch_size', f'{quantizer}.codebook_size'
sweep = dict(
    codes=dict(codes_256={codes: 256}, codes_1024={codes: 1024}, codes_4096={codes: 4096}),
    patch=dict(patch_1={patch: 1}, patch_4={patch: 4}, patch_16={patch: 16}, patch_64={patch: 64}),
)
del quantizer, patch, codes
