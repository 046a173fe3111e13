"""VQGAN's recipe (Esser et al., 2021; `configs/imagenet_vqgan.yaml` of CompVis/taming-transformers): L1, adaptive GAN late.

Short side resized to 256, random crop, no flip; constant learning rate of 4.5e-6 a sample of the batch; no clipping, float32.
The released file does not say how long it trained; 1.1 M iterations is what its successor (VQGAN-SD) reports. The published
models were trained on one device, so `batch_size` is that of all: launch these rows on one. More devices train at a larger
batch and rate, unless `train_dataloader.batch_size` is divided by their number."""

from mmengine.config import read_base

with read_base():
    from .imagenet import *

from fvq_core.losses import L1Loss
from fvq_quantizers.losses import VQLoss

model.update(reconstruction_loss=dict(type=L1Loss))
model.adversarial.update(weight=0.8, discriminator_weight=1.0, adaptive=True, start=250001)
model.tokenizer.quantizer.update(loss=dict(type=VQLoss, beta=0.25, legacy=True))

train_dataloader.update(batch_size=12)
train_dataloader.dataset.update(transforms=[dict(type=ADMRandomCrop, size=256, min_fraction=1.0, upsample=True)])
train_cfg = dict(type=TrainLoop, max_iters=1100000, val_interval=20000)
optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=4.5e-6, betas=(0.5, 0.9), fused=True),
    max_norm=None,
)
auto_scale_lr.update(base_batch_size=1)
param_scheduler.update(warmup=0, decay='none')
