"""TiTok-S, stage 2: the codes of stage 1 stay, and everything behind them learns pixels, MaskGIT's decoder and codebook included.

Losses of the release, whose pixels lie in [0, 1]: its L2 is a quarter of ours. Its perceptual term is ConvNeXt-S's logits."""

from mmengine.config import read_base

with read_base():
    from .titok_stage1 import *

from fvq_core.losses import ConvNeXtLoss, HingeGANLoss, L2Loss
from fvq_core.losses.adversarial import AdversarialLoss, LeCAM
from fvq_core.losses.discriminators import BlurredCNN

model.update(freeze=['encoder', 'quantizer'])
model.tokenizer.decoder.head.update(stage=2)
model.reconstruction_loss = dict(type=L2Loss, weight=0.25)
model.perceptual_loss = dict(type=ConvNeXtLoss, weight=0.1)
model.adversarial = dict(
    type=AdversarialLoss,
    discriminator=dict(type=BlurredCNN),
    loss=dict(type=HingeGANLoss),
    weight=0.01,
    discriminator_weight=1.0,
    start=20000,
    lecam=dict(type=LeCAM, weight=0.001, batch_means=True),
)
