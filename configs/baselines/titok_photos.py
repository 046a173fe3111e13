"""TiTok's networks in a single stage around the codes of `fvq/fvq_photos.py`, with its crops, losses and batch.

Each crop of 64x64 becomes 32 codes of 1,024, an eighth of what the other tokenizers of the photos use."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

from fvq_core.autoencoders import TiTokDecoder, TiTokEncoder

small = dict(image_size=64, patch_size=8, width=96, depth=3, heads=4, tokens=32, z_channels=64)
model.tokenizer.update(quant_kernel=0)
model.tokenizer.encoder = dict(type=TiTokEncoder, **small)
model.tokenizer.decoder = dict(type=TiTokDecoder, **small)
del small
optim_wrapper.optimizer.update(lr=1e-3)
default_hooks.report.pop('dataset')  # whole photos have another size than the learned positions
