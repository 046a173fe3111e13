"""What the rows of the mini benchmark on a GPU share: 16,384 codes of 256 channels at 128x128, 256 tokens an image.

Photos lie at `data/photos` (or a link), with `train/` and `val/`; `tools/benchmark.py --data PHOTOS` takes others. 20,000 steps of
64 crops are meant as ten minutes or more a method on one large GPU; `--steps` changes them for all rows alike."""

from mmengine.config import read_base

with read_base():
    from .runtime import *

from torch.optim import Adam

from fvq_core.data import ADMCenterCrop, ADMRandomCrop, HorizontalFlip, ImageFolder
from fvq_core.autoencoders import VQGANDecoder
from fvq_core.autoencoders import VQGANEncoder
from fvq_core.losses import L2Loss
from fvq_core.training import ClippedOptimWrapper, EvaluationLoop, TrainLoop
from fvq_core.training.schedules import WarmupHoldDecayLR
from fvq_core.training.tasks import TokenizerTask
from fvq_core.tokenizer import Tokenizer
from fvq_eval.metrics import PSNR, SSIM, CodebookUsage, QuantizationError
from fvq_quantizers import VectorQuantizer

autoencoder = dict(ch=64, ch_mult=(1, 1, 2, 4), num_res_blocks=2, z_channels=256)
model = dict(
    type=TokenizerTask,
    tokenizer=dict(
        type=Tokenizer,
        encoder=dict(type=VQGANEncoder, **autoencoder),
        quantizer=dict(type=VectorQuantizer, codebook_size=16384, code_dim=256),
        decoder=dict(type=VQGANDecoder, **autoencoder),
    ),
    reconstruction_loss=dict(type=L2Loss),
)
del autoencoder

train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    pin_memory=True,
    dataset=dict(
        type=ImageFolder,
        root='data/photos/train',
        transforms=[
            dict(type=ADMRandomCrop, size=128, min_fraction=0.25, max_fraction=0.5, upsample=True),
            dict(type=HorizontalFlip, on_device=True),
        ],
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    pin_memory=True,
    dataset=dict(
        type=ImageFolder, root='data/photos/val', transforms=[dict(type=ADMCenterCrop, size=128, upsample=True)]
    ),
)
val_evaluator = [
    dict(type=CodebookUsage),
    dict(type=PSNR),
    dict(type=SSIM),
    dict(type=QuantizationError),
]
train_cfg = dict(type=TrainLoop, max_iters=20000, val_interval=0)
val_cfg = dict(type=EvaluationLoop)

optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=1e-4, betas=(0.9, 0.95), fused=True),
    max_norm=1.0,
    precision='bfloat16',
)
param_scheduler = dict(type=WarmupHoldDecayLR, warmup=0.1, hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=2000))
default_hooks.training_log.update(interval=100)
