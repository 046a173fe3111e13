"""TiTok-S (Yu et al., 2024), stage 1: 128 tokens of 4,096 unit codes, from which it predicts MaskGIT's codes of the image.

The proxy is MaskGIT's tokenizer: `tools/convert.py maskgit-vq FILE work_dirs/maskgit_1k/tokenizer`, or train
`baselines/maskgit_1k.py`. Codes have 12 channels, as in the released configs and files; the paper's tables say 16. The encoder
takes its tokens for channels, as released (`legacy`)."""

from fvq_core.autoencoders import MaskGITDecoder, ProxyCodesHead, TiTokDecoder, TiTokEncoder
from fvq_core.losses import ProxyCodesLoss
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.tasks import TokenizerTask
from fvq_quantizers import VectorQuantizer
from fvq_quantizers.normalizations import L2Normalize

transformer = dict(width=512, depth=8, heads=8, tokens=128)
model = dict(
    type=TokenizerTask,
    tokenizer=dict(
        type=Tokenizer,
        encoder=dict(type=TiTokEncoder, **transformer, z_channels=12, legacy=True),
        quantizer=dict(type=VectorQuantizer, codebook_size=4096, code_dim=12, normalize=dict(type=L2Normalize)),
        decoder=dict(
            type=TiTokDecoder,
            **transformer,
            z_channels=12,
            head=dict(type=ProxyCodesHead, decoder=dict(type=MaskGITDecoder), stage=1),
        ),
        quant_kernel=0,
    ),
    reconstruction_loss=dict(type=ProxyCodesLoss, tokenizer='work_dirs/maskgit_1k/tokenizer'),
)
del transformer
