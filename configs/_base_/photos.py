"""The small recipe on the bundled photos: the encoder, data, losses, optimizer and schedule that photo rows share."""

from mmengine.config import read_base

with read_base():
    from .runtime import *

from torch.optim import Adam

from fvq_core.data import BundledPhotos
from fvq_core.autoencoders import VQGANDecoder
from fvq_core.autoencoders import VQGANEncoder
from fvq_core.losses import L2Loss
from fvq_core.training import ClippedOptimWrapper, EvaluationLoop, TrainLoop
from fvq_core.training.schedules import WarmupHoldDecayLR
from fvq_core.training.tasks import TokenizerTask
from fvq_core.tokenizer import Tokenizer
from fvq_eval.metrics import PSNR, SSIM, CodebookUsage, QuantizationError
from fvq_quantizers import VectorQuantizer

# No attention, and no residual block at full resolution: there two CPU cores would spend most of their time.
autoencoder = dict(ch=16, ch_mult=(1, 1, 2), num_res_blocks=(0, 1, 1), z_channels=64, attention=False, norm_groups=8)
model = dict(
    type=TokenizerTask,
    tokenizer=dict(
        type=Tokenizer,
        encoder=dict(type=VQGANEncoder, **autoencoder),
        quantizer=dict(type=VectorQuantizer, codebook_size=1024, code_dim=64),
        decoder=dict(type=VQGANDecoder, extra_blocks=0, **autoencoder),
    ),
    reconstruction_loss=dict(type=L2Loss),
)
del autoencoder

train_dataloader = dict(batch_size=16, dataset=dict(type=BundledPhotos, split='train', crop_size=64, crops=1000))
val_dataloader = dict(batch_size=64, dataset=dict(type=BundledPhotos, split='eval', crop_size=64, crops=4096))
val_evaluator = [
    dict(type=CodebookUsage),
    dict(type=PSNR),
    dict(type=SSIM),
    dict(type=QuantizationError),
]
train_cfg = dict(type=TrainLoop, max_iters=400, val_interval=200)
val_cfg = dict(type=EvaluationLoop)

optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=1e-3, betas=(0.9, 0.95), fused=True),
    max_norm=1.0,
)
param_scheduler = dict(type=WarmupHoldDecayLR, warmup=0.1, hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=100))
