"""A multi-scale BSQ tokenizer for Infinity's generators (Han et al., 2025): seven scales of 32 bits, without phi convolutions.

How the release trained its own is not in its repository; architecture, losses and optimizer are LlamaGen's, as in `var_4k.py`."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.constant_40e import *

from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.bsq import BSQ

model.tokenizer.encoder.update(z_channels=32)
model.tokenizer.decoder.update(z_channels=32)
model.tokenizer.quantizer = dict(
    type=MultiScaleQuantizer,
    quantizer=dict(type=BSQ, codebook_size=2**32, bit_labels=True),
    scales=(1, 2, 4, 6, 8, 12, 16),
    phi_ratio=0.0,
    interpolation='bilinear',
    inputs='bilinear',
)
