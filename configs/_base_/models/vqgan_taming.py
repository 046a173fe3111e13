"""VQGAN with the losses of its release (Esser et al., 2021; `configs/imagenet_vqgan.yaml` of CompVis/taming-transformers).

L1, an adaptive GAN from iteration 250,001 on, beta on the codebook term."""

from mmengine.config import read_base

with read_base():
    from .vqgan import *

from fvq_core.losses import L1Loss
from fvq_quantizers.losses import VQLoss

model.update(reconstruction_loss=dict(type=L1Loss))
model.adversarial.update(weight=0.8, discriminator_weight=1.0, adaptive=True, start=250001)
model.tokenizer.quantizer.update(loss=dict(type=VQLoss, beta=0.25, legacy=True))
