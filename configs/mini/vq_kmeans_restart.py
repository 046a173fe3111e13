"""`vq_kmeans`; a code that no latent chose for 20 steps is replaced by a latent, as in `replace_dead`."""

from mmengine.config import read_base

with read_base():
    from .vq_kmeans import *

from fvq_quantizers.updates import ReplaceDeadCodes

model.tokenizer.quantizer.update(update=dict(type=ReplaceDeadCodes, patience=20))
