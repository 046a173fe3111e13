"""FVQ's quantizer on the frozen latents of `../baselines/kl_photos.py`: minutes on one CPU core (docs/fine_tuning.md).

The third quarter of each photo is held out of all three runs and of the stores.

tools/train.py configs/baselines/kl_photos.py
tools/extract_codes.py work_dirs/kl_photos/tokenizer bundled:2 work_dirs/kl_photos/latents_train --size 64 --crops native 200 --flip
tools/train.py configs/frozen/fvq_frozen_photos.py
tools/test.py configs/frozen/fvq_frozen_photos.py work_dirs/fvq_frozen_photos/tokenizer"""

from mmengine.config import read_base

with read_base():
    from ..baselines.kl_photos import *

from fvq_core.autoencoders import VQGANDecoder, VQGANEncoder
from fvq_eval.metrics import CodeBits, CodebookUsage, QuantizationError
from fvq_generators.data import CodesDataset
from fvq_generators.tasks import FrozenLatentsTask
from fvq_quantizers import VectorQuantizer
from fvq_quantizers.frozen_latents import LatentEncoder, LatentTokenizer
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import VQBridge

adapter = dict(ch=32, ch_mult=(1,), num_res_blocks=1, z_channels=64, attention=False, norm_groups=8)
model = dict(
    type=FrozenLatentsTask,
    tokenizer=dict(
        type=LatentTokenizer,
        encoder=dict(
            type=LatentEncoder, autoencoder=model.tokenizer, adapter=dict(type=VQGANEncoder, in_channels=4, **adapter)
        ),
        quantizer=dict(
            type=VectorQuantizer,
            codebook_size=1024,
            code_dim=64,
            projector=dict(type=VQBridge, patch_size=8),
            init=dict(type=NormalInit, std=1.0),
        ),
        decoder=dict(type=VQGANDecoder, out_channels=4, extra_blocks=0, **adapter),
        quant_kernel=1,
    ),
    reconstruction_loss=dict(type=L2Loss),
)
del adapter
load_from = 'work_dirs/kl_photos/tokenizer'
train_dataloader = dict(
    batch_size=16, dataset=dict(type=CodesDataset, root='work_dirs/kl_photos/latents_train', means=True)
)
train_cfg.update(max_iters=800)
val_evaluator = [
    dict(type=CodebookUsage),
    dict(type=CodeBits),
    dict(type=PSNR),
    dict(type=SSIM),
    dict(type=QuantizationError),
]
