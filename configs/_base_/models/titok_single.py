"""TiTok in a single stage: base encoder, large decoder, 128 tokens of 8,192 codes with 64 channels that restart as CVQ's do.

The networks are those of the released `titok_bl128_vq8k`, the losses those of TA-TiTok (Kim et al., 2025), on pixels in [0, 1],
where L2 is a quarter of ours."""

from mmengine.config import read_base

with read_base():
    from .titok_stage2 import *

from fvq_core.losses import PerceptualLoss, SumLoss
from fvq_quantizers.updates import CVQUpdate

model.pop('freeze')
model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=TiTokEncoder, width=768, depth=12, heads=12, tokens=128, z_channels=64),
    quantizer=dict(type=VectorQuantizer, codebook_size=8192, code_dim=64, update=dict(type=CVQUpdate)),
    decoder=dict(type=TiTokDecoder, width=1024, depth=24, heads=16, tokens=128, z_channels=64),
    quant_kernel=0,
)
model.perceptual_loss = dict(
    type=SumLoss,
    losses=[dict(type=PerceptualLoss, net='vgg'), dict(type=ConvNeXtLoss, weight=0.1)],
)
model.adversarial.update(weight=0.1, start=200000)
