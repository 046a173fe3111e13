"""OptVQ (Zhang et al., 2024): four codes of 64 channels a position from one codebook of 16,384, assigned by optimal transport.

No row of the paper; its README has rFID 1.00, PSNR 26.59 (luma) and LPIPS 0.076. In evaluation a latent has the nearest code
here, while the release transports there too, over the batch: `model.tokenizer.quantizer.quantizer.distance.at_inference=True`
does that, and saved tokenizers say so. The batch is 64: 8 devices with 8 images each."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan_taming import *
    from .._base_.schedules.optvq_50e import *

from fvq_core.losses import L2Loss, SumLoss
from fvq_quantizers import ProductQuantizer
from fvq_quantizers.distances import OptimalTransport
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import LinearProjector

model.tokenizer.quantizer = dict(
    type=ProductQuantizer,
    quantizer=dict(
        type=VectorQuantizer,
        codebook_size=16384,
        code_dim=64,
        projector=dict(type=LinearProjector, std=64**-0.5),
        distance=dict(type=OptimalTransport),
        loss=dict(type=VQLoss, legacy=True),
        init=dict(type=NormalInit, std=1.0),
    ),
    groups=4,
    shared=True,
)
model.reconstruction_loss = dict(type=SumLoss, losses=[dict(type=L1Loss), dict(type=L2Loss)])
model.perceptual_loss.update(weight=3.0)
model.adversarial.update(weight=1.0, start=0, delay=149999)
train_dataloader.update(batch_size=8)
