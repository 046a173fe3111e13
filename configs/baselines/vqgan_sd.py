"""Stable Diffusion's VQ tokenizer (vq-f16 of Rombach et al., 2022): 8 channels, trained on OpenImages. For one device.

Put OpenImages, or a link to it, at `data/openimages/train`. Images are resized to a short side of 384 and cropped to 256."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.vqgan_taming import *
    from .._base_.schedules.vqgan_1100k import *

model.tokenizer.encoder.update(z_channels=8)
model.tokenizer.decoder.update(z_channels=8)
model.tokenizer.quantizer.update(code_dim=8)
model.adversarial.update(weight=0.75)
model.adversarial.discriminator.update(layers=2)
train_dataloader.update(batch_size=14)
train_dataloader.dataset.update(
    root='data/openimages/train',
    transforms=[dict(type=ADMRandomCrop, size=256, min_fraction=2 / 3, max_fraction=2 / 3, upsample=True)],
)
paper = dict(rows=['t1.3', 't8.5'], rfid_in1k=5.15)
