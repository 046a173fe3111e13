"""Infinity's tokenizer (Han et al., 2025), 110 M parameters: seven scales of 32 bits, without attention or phi convolutions.

Networks and quantizer are those of `infinity_vae_d32_reg.pth`; losses, data and optimizer are LlamaGen's, as in `var_4k.py`. The release's
own (FoundationVision/BitVAE) differ: docs/paper_notes.md."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.constant_40e import *

from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.bsq import BSQ

model.tokenizer.encoder.update(ch_mult=(1, 2, 4, 4, 4), z_channels=32, attention=False)
model.tokenizer.decoder.update(ch_mult=(1, 2, 4, 4, 4), z_channels=32, attention=False)
model.tokenizer.quant_kernel = 0
model.tokenizer.quantizer = dict(
    type=MultiScaleQuantizer,
    quantizer=dict(type=BSQ, codebook_size=2**32, bit_labels=True),
    scales=(1, 2, 4, 6, 8, 12, 16),
    phi_ratio=0.0,
    interpolation='bilinear',
    inputs='bilinear',
)
