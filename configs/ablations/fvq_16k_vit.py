"""FVQ between two ViT-B with a query for each position, as in XQ-GAN, in place of the convolutions: 172 in place of 72 million."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

from fvq_core.autoencoders import QueryViTDecoder, QueryViTEncoder

model.tokenizer.encoder = dict(type=QueryViTEncoder, z_channels=256)
model.tokenizer.decoder = dict(type=QueryViTDecoder, z_channels=256)
model.tokenizer.update(quant_kernel=0)
paper = None  # no row of the tables
