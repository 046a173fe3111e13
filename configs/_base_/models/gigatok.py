"""GigaTok S-S (Xiong et al., 2025): 256 tokens of 16,384 unit codes with 8 channels, between Q-Formers and convolutions.

Behind the third block of the decoder's transformer, its features follow those of DINOv2-B. In the first 14,999 iterations
images are also made without the transformers (`ShortcutLoss`), which the release advises new runs against: `L2Loss`."""

from mmengine.config import read_base

with read_base():
    from .vqgan import *

from fvq_core.autoencoders import AdaptiveGroupNormDecoder, QFormerDecoder, QFormerEncoder
from fvq_core.losses import FeatureAlignment, ShortcutLoss
from fvq_quantizers.estimators import RotationTrick
from fvq_quantizers.inits import UniformInit
from fvq_quantizers.normalizations import L2Normalize

model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(
        type=QFormerEncoder, width=512, depth=6, heads=8, tokens=256, cnn=dict(type=VQGANEncoder, attention=False)
    ),
    quantizer=dict(
        type=VectorQuantizer,
        codebook_size=16384,
        code_dim=8,
        normalize=dict(type=L2Normalize),
        init=dict(type=UniformInit, normalize=True),
        estimator=dict(type=RotationTrick),
    ),
    decoder=dict(
        type=QFormerDecoder,
        width=512,
        depth=6,
        heads=8,
        tokens=256,
        cnn=dict(type=AdaptiveGroupNormDecoder, num_res_blocks=3, z_channels=256, mid_blocks=2, bias=True),
    ),
    quant_kernel=0,
)
model.reconstruction_loss = dict(type=ShortcutLoss, perceptual=dict(type=PerceptualLoss, net='vgg'), calls=14999)
model.alignment = dict(
    type=FeatureAlignment,
    model='vit_base_patch14_dinov2.lvd142m',
    weights='data/weights/dinov2_vitb14_pretrain.pth',
    layer='decoder.transformer.blocks.2',
    width=512,
    hidden=2048,
    weight=0.5,
)
