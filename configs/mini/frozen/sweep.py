"""Which quantizer on frozen latents? Eight between the same two small networks, on one store: 400 steps, a minute or two each on a CPU core.

Autoencoder and store are those of `../../frozen/fvq_frozen_photos.py`, and so are networks, data and schedule; 1,024 codes, 1,000 for
`fsq`. `tools/benchmark.py` trains a row for each cell; the config itself is vanilla VQ.

tools/train.py configs/baselines/kl_photos.py
tools/extract_codes.py work_dirs/kl_photos/tokenizer bundled:2 work_dirs/kl_photos/latents_train --size 64 --crops native 200 --flip
tools/benchmark.py configs/mini/frozen/sweep.py --perceptual none"""

from mmengine.config import read_base

with read_base():
    from ...frozen.fvq_frozen_photos import *

model.tokenizer.quantizer = dict(type=VectorQuantizer, codebook_size=1024, code_dim=64)
train_cfg.update(max_iters=400)
val_dataloader.dataset.update(crops=1024)
quantizer = 'model.tokenizer.quantizer'
normal = dict(type='NormalInit', std=1.0)
sweep = dict(
    row=dict(
        vq={},
        vq_kmeans={f'{quantizer}.init': dict(type='KMeansInit')},
        # ReVQ's reset; its epoch is here 50 steps, about 13,000 latents for 1,024 codes
        split_used={
            f'{quantizer}.init': dict(type='LatentInit'),
            f'{quantizer}.update': dict(type='SplitUsedCodes', interval=50),
        },
        ema_restart={
            f'{quantizer}.init': normal,
            f'{quantizer}.loss': dict(type='VQLoss', beta=0.25, codebook_weight=0.0),
            f'{quantizer}.update': dict(type='EMAUpdate', decay=0.99, restart=True),
        },
        simvq={
            f'{quantizer}.init': dict(type='NormalInit'),
            f'{quantizer}.projector': dict(type='LinearProjector'),
            f'{quantizer}.update': dict(type='Frozen'),
        },
        mlp5={f'{quantizer}.init': normal, f'{quantizer}.projector': dict(type='MLPProjector', depth=5)},
        fvq={f'{quantizer}.init': normal, f'{quantizer}.projector': dict(type='VQBridge', patch_size=4)},
        fsq={quantizer: dict(type='FSQ', levels=(8, 5, 5, 5))},
    )
)
del quantizer, normal
