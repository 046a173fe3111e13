"""FVQ on nine of the ten bundled photographs; `tenth_photo.py` tunes it to the one that is left out."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

NINE = ['astronaut', 'chelsea', 'coffee', 'rocket', 'motorcycle', 'hubble', 'retina', 'china', 'flower']  # not ihc
train_dataloader.dataset.update(photos=NINE)
val_dataloader.dataset.update(photos=NINE)
default_hooks.report.dataset.update(photos=NINE)
del NINE
