"""Tuning a tokenizer of `nine_photos.py` to the tenth photo: `--init-from work_dirs/nine_photos/tokenizer`.

That tokenizer is folded: the mapped codebook has become the codebook, which is trained directly here. Without
`--init-from` this is a plain VQGAN of one photo.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.bundled_photos import *
    from .._base_.models.vqgan_tiny import *
    from .._base_.schedules.annealed_400 import *

from fvq_eval.reports.whole_photos import WholePhotos

photos = dict(photos=['ihc'], held_out=2)
train_dataloader.dataset.update(photos)
val_dataloader.dataset.update(photos, crops=1024)
default_hooks.report.update(dataset=dict(type=WholePhotos, **photos))
model.reconstruction_loss.update(weight=10.0)
optim_wrapper.optimizer.update(lr=5e-4)
train_cfg.update(val_interval=0)
del photos
