"""Usage against quality at equal bits: 64, 256 and 1,024 codes x three codebooks that are used to different degrees.

`plain` starts at k-means centres and loses most of a large codebook; `restart` (EMA, dead codes restarted) and `fvq` keep it.
Compare rows of equal effective bits an image, a half-used large codebook with a small one that is full: does usage itself buy
quality, or do the bits that it stands for? `tools/benchmark.py` trains a row for each cell; the config itself is vanilla VQ."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

quantizer = 'model.tokenizer.quantizer'
normal = dict(type='NormalInit', std=1.0)
sweep = dict(
    codes=dict(
        codes_64={f'{quantizer}.codebook_size': 64},
        codes_256={f'{quantizer}.codebook_size': 256},
        codes_1024={f'{quantizer}.codebook_size': 1024},
    ),
    row=dict(
        plain={f'{quantizer}.init': dict(type='KMeansInit')},
        restart={
            f'{quantizer}.init': normal,
            f'{quantizer}.loss': dict(type='VQLoss', beta=0.25, codebook_weight=0.0),
            f'{quantizer}.update': dict(type='EMAUpdate', decay=0.99, restart=True),
        },
        fvq={f'{quantizer}.projector': dict(type='VQBridge', patch_size=4), f'{quantizer}.init': normal},
    ),
)
del quantizer, normal
