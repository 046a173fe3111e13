"""What tests of the benchmark share: rows, and folders as runs leave them."""

from __future__ import annotations

import json
from pathlib import Path

REPO = Path(__file__).parents[2]
VQ, FVQ, SWEEP = (str(REPO / 'configs/mini' / name) for name in ('vq.py', 'fvq.py', 'q1/sweep.py'))
OPTIONS = {'model.tokenizer.quantizer.codebook_size': 16, 'train_dataloader.batch_size': 2}


def leave_result(folder: Path, psnr: float) -> None:
    """A finished run."""
    metrics = {'psnr': {'value': psnr}, 'usage': {'value': 50.0}}
    leave(folder, {'status': 'finished', 'learning_rate': 1e-3, 'metrics': metrics})


def leave(folder: Path, result: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'result.json').write_text(json.dumps(result))


CONFIRMATORY = REPO / 'configs/confirmatory'
# The confirmatory rows at the size of a test.
TOY = {
    **{
        f'model.tokenizer.{part}.{key}': value
        for part in ('encoder', 'decoder')
        for key, value in dict(
            ch=8, ch_mult=[1, 1, 1], num_res_blocks=0, z_channels=32, attention=False, norm_groups=8
        ).items()
    },
    'model.tokenizer.quantizer.codebook_size': 64,
    'model.tokenizer.quantizer.code_dim': 32,
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'optim_wrapper.precision': 'float32',
    'default_hooks.training_log.interval': 1,
}
