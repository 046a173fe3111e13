"""A small RCG on the codes of `codes_photos.py` and what a network of random weights says of the same crops: a rehearsal.

Nobody trained that network (timm's `test_vit`, 0.3 M parameters), so its vectors tell photos apart by their colours at most; RCG's
point, representations that mean something, needs weights (`--weights`, see docs/generation.md). Minutes on two CPU cores:

tools/train.py configs/generation/codes_photos.py
tools/extract_codes.py work_dirs/codes_photos/tokenizer bundled work_dirs/codes_photos/codes --size 64 --crops random 200 --flip
tools/extract_representations.py test_vit bundled work_dirs/codes_photos/representations --size 64 --crops random 200 --flip --random
tools/train.py configs/generation/rcg_photos.py
tools/sample.py work_dirs/rcg_photos/generator work_dirs/codes_photos/tokenizer --num 20"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.rcg import *
    from .._base_.schedules.rcg_200e import *

from fvq_generators.data import RepresentedCodes

model.generator.update(layout=dict(type='Grid', height=8, width=8, codebook_size=1024), channels=64)
model.generator.representation.update(dim=256, width=256, depth=4, time_dim=64, num_classes=10, class_dim=64)
model.generator.mage.update(dim=128, depth=4, heads=4, decoder_depth=2, attention_dropout=0.0, dropout=0.0)
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        type=RepresentedCodes,
        root='work_dirs/codes_photos/codes',
        representations='work_dirs/codes_photos/representations',
    ),
)
train_cfg = dict(type=TrainLoop, max_iters=1500)
auto_scale_lr.update(enable=False)
optim_wrapper.update(precision='float32')
optim_wrapper.optimizer.update(lr=1e-3)
param_scheduler.update(hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=500))
default_hooks.training_log.update(interval=20)
default_hooks.report.sampling = dict(choice_temperature=1.0, steps=16, representation_steps=50)
