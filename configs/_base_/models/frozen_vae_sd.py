"""The frozen KL autoencoder of `../../baselines/vae_sd.py` (f = 16, 16 channels) and the L2 loss of its latents; the adapter, the
quantizer and the rectifier are the row's.

Extract the latents first, here and for every row on top: `tools/extract_codes.py AUTOENCODER data/imagenet/train
data/latents/imagenet_vae_sd --upsample --exif-orientation ignore`. AUTOENCODER is `load_from`: trained by that row, or converted
from the release (`tools/convert.py ldm-kl`)."""

from mmengine.config import read_base

with read_base():
    from .kl_f16 import *

from fvq_core.losses import L2Loss
from fvq_generators.tasks import FrozenLatentsTask
from fvq_quantizers.frozen_latents import LatentEncoder, LatentTokenizer

model = dict(
    type=FrozenLatentsTask,
    tokenizer=dict(type=LatentTokenizer, encoder=dict(type=LatentEncoder, autoencoder=model.tokenizer)),
    reconstruction_loss=dict(type=L2Loss),
)
load_from = 'work_dirs/vae_sd/tokenizer'
