"""The paper's recipe on ImageNet at 256x256 (table 6): data, losses, optimizers and schedule of the full-size tokenizers.

Put ImageNet (or a link to it) at `data/imagenet`; docs/data.md has the layout. The batch of the paper is 128: 8 devices
with 16 images each. For other counts see docs/reproduce.md; the learning rate follows the batch by itself.
"""

from mmengine.config import read_base

with read_base():
    from .runtime import *

from torch.optim import Adam

from fvq_core.losses.adversarial import AdversarialLoss
from fvq_core.data import ADMCenterCrop, ADMRandomCrop, HorizontalFlip, ImageFolder
from fvq_core.autoencoders import VQGANDecoder
from fvq_core.losses.discriminators import PatchGAN
from fvq_core.autoencoders import VQGANEncoder
from fvq_core.losses import HingeGANLoss, L2Loss, PerceptualLoss
from fvq_core.training import ClippedOptimWrapper, EvaluationLoop, TrainLoop
from fvq_core.training.schedules import WarmupHoldDecayLR
from fvq_core.training.tasks import TokenizerTask
from fvq_core.tokenizer import Tokenizer
from fvq_eval.metrics import PSNR, SSIM, CodebookUsage, QuantizationError
from fvq_quantizers import VectorQuantizer

model = dict(
    type=TokenizerTask,
    tokenizer=dict(
        type=Tokenizer,
        encoder=dict(type=VQGANEncoder, ch=128, ch_mult=(1, 1, 2, 2, 4), num_res_blocks=2, z_channels=256),
        quantizer=dict(type=VectorQuantizer, codebook_size=16384, code_dim=256),
        decoder=dict(type=VQGANDecoder, ch=128, ch_mult=(1, 1, 2, 2, 4), num_res_blocks=2, z_channels=256),
    ),
    reconstruction_loss=dict(type=L2Loss),
    perceptual_loss=dict(type=PerceptualLoss, net='vgg'),
    adversarial=dict(
        type=AdversarialLoss,
        discriminator=dict(type=PatchGAN, ch=64, layers=3),
        loss=dict(type=HingeGANLoss),
        weight=0.5,
        discriminator_weight=0.5,
        start=20000,
    ),
)

train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    pin_memory=True,
    dataset=dict(
        type=ImageFolder,
        root='data/imagenet/train',
        exif_orientation='ignore',  # as the released code
        decoder='auto',
        transforms=[dict(type=ADMRandomCrop, size=256, upsample=True), dict(type=HorizontalFlip, on_device=True)],
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=8,
    pin_memory=True,
    dataset=dict(
        type=ImageFolder,
        root='data/imagenet/val',
        exif_orientation='ignore',
        transforms=[dict(type=ADMCenterCrop, size=256, upsample=True)],
    ),
)
val_evaluator = [
    dict(type=CodebookUsage),
    dict(type=PSNR),
    dict(type=SSIM),
    dict(type=QuantizationError),
]
train_cfg = dict(type=TrainLoop, max_epochs=40, val_interval=20000)
val_cfg = dict(type=EvaluationLoop)

optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=1e-4, betas=(0.9, 0.95), fused=True),
    max_norm=1.0,
    precision='bfloat16',
)
auto_scale_lr = dict(enable=True, base_batch_size=128)
param_scheduler = dict(type=WarmupHoldDecayLR, warmup=0.1, hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=5000))
default_hooks.training_log.update(interval=50)
