"""Structure or step size, with equal steps: plain and linear codebooks whose mapped codes move as far as VQBridge's did.

Benchmark `mini/q1/measured.py` first, into the same work dir: each seed takes the steps of `measured_fvq` with that seed. Those of
another run: `--cfg-options default_hooks.code_step.match=FILE`. `tools/benchmark.py` trains a row for each; the config itself is
vanilla VQ."""

from mmengine.config import read_base

with read_base():
    from .measured import *

default_hooks.code_step.update(match='{work_dir}/../../../measured_fvq/lr1/seed{seed}/history.jsonl')
rows = sweep['projector']
sweep = dict(projector=dict(matched_vq=rows['measured_vq'], matched_linear=rows['measured_linear']))
del rows
