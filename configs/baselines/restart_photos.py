"""EMA with restart of unused codes on ten bundled photographs: the strongest baseline of docs/benchmark.md, beside `fvq_photos`."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

from fvq_quantizers.losses import VQLoss
from fvq_quantizers.updates import EMAUpdate

model.tokenizer.quantizer.pop('projector')
model.tokenizer.quantizer.update(
    loss=dict(type=VQLoss, beta=0.25, codebook_weight=0.0), update=dict(type=EMAUpdate, decay=0.99, restart=True)
)
