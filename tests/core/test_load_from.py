"""Starting a run from another run's weights."""

from __future__ import annotations

from pathlib import Path

import torch

from fvq_core.config import load_config
from fvq_core.runner.runner import Runner

KMEANS_ROW = str(Path(__file__).parents[2] / 'configs/mini/vq_kmeans.py')
TINY = {
    'train_dataloader.batch_size': 2,
    'val_dataloader.dataset.crops': 2,
    'train_cfg.max_iters': 1,
    'default_hooks.report': None,
    'model.tokenizer.quantizer.codebook_size': 16,
}


def test_a_codebook_that_starts_from_latents_is_kept_where_weights_are_loaded(tmp_path: Path) -> None:
    Runner.from_cfg(load_config(KMEANS_ROW, TINY, work_dir=str(tmp_path / 'first'))).train()
    cfg = load_config(KMEANS_ROW, {**TINY, 'optim_wrapper.optimizer.lr': 0.0}, work_dir=str(tmp_path / 'second'))
    cfg.load_from = str(tmp_path / 'first/iter_1.pth')
    second = Runner.from_cfg(cfg)
    second.train()
    loaded = torch.load(cfg.load_from, weights_only=False)['state_dict']['tokenizer.quantizer.embedding']
    assert torch.equal(second.task.tokenizer.quantizer.embedding.detach().cpu(), loaded)
