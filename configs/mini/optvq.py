"""OptVQ (Zhang et al., 2024): optimal transport assigns the codes in training, behind one linear map.

Beta is on the codebook term. The release splits a latent of 256 channels into four or eight parts with a code each; here a
latent has one code, as in all rows."""

from mmengine.config import read_base

with read_base():
    from .linear import *

from fvq_quantizers.distances import OptimalTransport
from fvq_quantizers.losses import VQLoss

model.tokenizer.quantizer.projector.std = 64**-0.5
model.tokenizer.quantizer.update(loss=dict(type=VQLoss, legacy=True), distance=dict(type=OptimalTransport))
