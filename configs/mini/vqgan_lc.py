"""VQGAN-LC's quantizer (Zhu et al., 2024a): a frozen codebook of clustered image features behind one linear map.

From the release come the role of the features, the map and its start. D (64, not 8) and the loss weights (1 and 0.25, not 0.033
and 0.1) are those of the other rows. Make the codebook first, from the training photos only (timm downloads the network once;
`--weights random` needs no download and is another baseline):

    tools/make_codebook.py bundled data/codebooks/mini_1024.safetensors --codebook-size 1024 \\
        --model vit_small_patch14_dinov2.lvd142m

For `--size k4096` or `k16384` make `mini_4096` or `mini_16384` with that many codes. With `tools/benchmark.py --data PHOTOS`
make it from `PHOTOS/train` in place of `bundled`."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.inits import FileInit
from fvq_quantizers.projectors import LinearProjector
from fvq_quantizers.updates import Frozen

model.tokenizer.quantizer.update(
    projector=dict(type=LinearProjector, source_dim=384, std=64**-0.5),
    init=dict(type=FileInit, path='data/codebooks/mini_1024.safetensors'),
    update=dict(type=Frozen),
)
