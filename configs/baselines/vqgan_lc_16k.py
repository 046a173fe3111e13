"""VQGAN-LC (Zhu et al., 2024a): a frozen codebook of clustered CLIP features, mapped to 8 channels by one linear map.

Make the codebook first; docs/reproduce.md has the command. The whole quantizer loss is weighted 0.1. Adam's eps is 1e-7. The
length (100 epochs, 5 of warm-up, cosine to 0) is that of the released README; its 100,000-code checkpoint had 20 epochs. The
batch is 256 (the paper, confirmed by its authors): 8 devices with 32 images each. The learning rate does not follow the
batch."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.vqgan_taming import *
    from .._base_.schedules.vqgan_1100k import *

from fvq_quantizers.inits import FileInit
from fvq_quantizers.projectors import LinearProjector
from fvq_quantizers.updates import Frozen

model.tokenizer.quantizer.update(
    code_dim=8,
    projector=dict(type=LinearProjector, source_dim=768, std=8**-0.5),
    init=dict(type=FileInit, path='data/codebooks/clip_vit_l14_16384.safetensors'),
    update=dict(type=Frozen),
)
model.tokenizer.quantizer.loss = dict(type=VQLoss, beta=0.1, codebook_weight=0.033)
model.adversarial.update(weight=0.1, start=50000)
model.adversarial.discriminator.update(layers=2)
train_cfg = dict(type=TrainLoop, max_epochs=100, val_interval=5000)
optim_wrapper.optimizer.update(lr=5e-4, eps=1e-7)
auto_scale_lr.update(enable=False)
param_scheduler.update(warmup=0.05, warmup_factor=0.0, hold=0.0, decay='cosine', end_factor=0.0)
paper = dict(rows=['t1.7', 't8.9'], rfid_in1k=3.01, lpips=0.13, usage=99)
