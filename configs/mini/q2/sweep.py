"""When can the bridge go? Fold it after 5, 20, 50 and 100 % of training, then train the plain codebook on.

`tools/benchmark.py` trains a row for each; the config itself is FVQ, which folds at its end."""

from mmengine.config import read_base

with read_base():
    from ..fvq import *

default_hooks.update(fold=None)
sweep = dict(
    fold=dict(
        fold_5={'default_hooks.fold': dict(type='FoldHook', at=0.05)},
        fold_20={'default_hooks.fold': dict(type='FoldHook', at=0.2)},
        fold_50={'default_hooks.fold': dict(type='FoldHook', at=0.5)},
        fold_100={'default_hooks.fold': dict(type='FoldHook', at=1.0)},
    )
)
