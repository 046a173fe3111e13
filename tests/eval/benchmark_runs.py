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
