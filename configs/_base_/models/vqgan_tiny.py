"""A VQGAN that trains on two CPU cores: f = 4, 1,024 codes of 64 channels, L2 loss."""

from fvq_core.autoencoders import VQGANDecoder, VQGANEncoder
from fvq_core.losses import L2Loss
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.tasks import TokenizerTask
from fvq_quantizers import VectorQuantizer

# No attention, and no residual block at full resolution: two CPU cores would spend most of their time there.
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
