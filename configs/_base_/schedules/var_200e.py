"""VAR's schedule (Tian et al., 2024): 200 epochs, 1e-4 for each 256 images; warm-up over 2 % of the run, held for 5 % of the rest,
then linear to a tenth. Positions, levels and everything of one dimension do not decay.

The release trains in float16; here it is bfloat16."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

train_cfg.update(max_epochs=200)
optim_wrapper.update(max_norm=2.0, paramwise_cfg=dict(no_decay=['start', 'position_embedding', 'level_embedding']))
auto_scale_lr.update(enable=True)
param_scheduler.update(warmup=0.02, hold=0.05, decay='linear', end_factor=0.1)
default_hooks.report.sampling.update(cfg_scale=2.5, top_k=900, top_p=0.96)
