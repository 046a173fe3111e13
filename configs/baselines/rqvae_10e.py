"""RQ-VAE (Lee et al., 2022): 8x8x4 codes of one shared codebook, 10 epochs (`in256-rqvae-8x8x4.yaml` of its release).

The codebook is a moving average with restarts whose counts start at zero, as released. The GAN is adaptive and on from the
first step; the discriminator's loss is weighted too. The released schedule is half an epoch of warm-up, then constant. Table
4's FVQ (RQ-VAE) changes the whole recipe and not only the projector: see `configs/fvq/rq_16k.py`."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.annealed_40e import *

from fvq_quantizers import ResidualQuantizer
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.losses import VQLoss
from fvq_quantizers.updates import EMAUpdate

model.tokenizer.encoder.update(ch_mult=(1, 1, 2, 2, 4, 4))
model.tokenizer.decoder.update(ch_mult=(1, 1, 2, 2, 4, 4))
model.tokenizer.quantizer = dict(
    type=ResidualQuantizer,
    quantizer=dict(
        type=VectorQuantizer,
        codebook_size=16384,
        code_dim=256,
        init=dict(type=NormalInit, std=1.0),
        loss=dict(type=VQLoss, beta=0.25, codebook_weight=0.0),
        update=dict(type=EMAUpdate, decay=0.99, restart=True, start_count=0.0),
    ),
    depth=4,
)
model.adversarial.update(weight=0.75, discriminator_weight=0.75, adaptive=True, start=0)
model.adversarial.discriminator.update(layers=2)
train_dataloader.dataset.update(
    transforms=[
        dict(type=ADMRandomCrop, size=256, min_fraction=1.0, upsample=True),
        dict(type=HorizontalFlip, on_device=True),
    ]
)
train_cfg.update(max_epochs=10)
optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=4e-5, betas=(0.5, 0.9), fused=True),
    max_norm=None,
)
param_scheduler.update(warmup=0.05, warmup_factor=0.0, decay='none')
paper = dict(rows=['t4.1', 't8.23'], rfid_in1k=4.73)
