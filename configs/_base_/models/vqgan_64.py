"""A VQGAN for 64x64 on one GPU: f = 4, 16,384 codes of 256 channels, L2 loss. An image is 256 codes."""

from fvq_core.autoencoders import VQGANDecoder, VQGANEncoder
from fvq_core.losses import L2Loss
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.tasks import TokenizerTask
from fvq_quantizers import VectorQuantizer

autoencoder = dict(ch=64, ch_mult=(1, 2, 4), num_res_blocks=2, z_channels=256)
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
