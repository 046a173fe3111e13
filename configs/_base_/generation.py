"""LlamaGen's recipe for generators on ImageNet codes at 256x256 (Sun et al., 2024), at its smallest size.

Extract the codes first: `tools/extract_codes.py TOKENIZER data/imagenet/train data/codes/imagenet_NAME --upsample
--exif-orientation ignore`. The batch is 256: 8 devices with 32 images each. The learning rate is constant and no batch changes it.
"""

from mmengine.config import read_base

with read_base():
    from .runtime import *

from torch.optim import AdamW

from fvq_generators.data import CodesDataset
from fvq_core.training import ClippedOptimWrapper, TrainLoop
from fvq_core.training.schedules import WarmupHoldDecayLR
from fvq_generators import LlamaGen
from fvq_generators.hooks import GeneratorLogHook, GeneratorReportHook, ShardingHook
from fvq_generators.optim import DecayByDimension
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=LlamaGen,
        layout=dict(type='Grid', height=16, width=16, codebook_size=16384),
        num_classes=1000,
        dim=768,
        depth=12,
        heads=12,
    ),
)

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    pin_memory=True,
    dataset=dict(type=CodesDataset, root='data/codes/imagenet_llamagen_16k'),
)
train_cfg = dict(type=TrainLoop, max_epochs=300)

optim_wrapper = dict(
    type=ClippedOptimWrapper,
    constructor=DecayByDimension,
    optimizer=dict(type=AdamW, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    max_norm=1.0,
    precision='bfloat16',
)
auto_scale_lr = dict(enable=False, base_batch_size=256)
param_scheduler = dict(type=WarmupHoldDecayLR, warmup=0, decay='none')

default_hooks.update(
    training_log=dict(type=GeneratorLogHook, interval=50),
    sharding=dict(type=ShardingHook),
    checkpoint=dict(interval=5000),
    report=dict(type=GeneratorReportHook, sampling=dict(cfg_scale=2.0)),
)
