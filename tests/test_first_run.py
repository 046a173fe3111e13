"""docs/first_run.md describes what the config of `make train` does, and its table keeps the promise."""

from __future__ import annotations

import re
from pathlib import Path

from fvq_core.config.read import load_config
from fvq_core.data.photos import PHOTO_NAMES

REPO = Path(__file__).parents[1]
TEXT = ' '.join((REPO / 'docs/first_run.md').read_text().split())


def test_the_page_describes_the_config() -> None:
    cfg = load_config(str(REPO / 'configs/fvq/fvq_photos.py'))
    train, val = cfg.train_dataloader, cfg.val_dataloader.dataset
    side, quantizer = train.dataset.crop_size, cfg.model.tokenizer.quantizer
    factor = 2 ** (len(cfg.model.tokenizer.encoder.ch_mult) - 1)
    assert len(PHOTO_NAMES) == 10
    assert f'{cfg.train_cfg.max_iters:,} steps of {train.batch_size} crops of {side}x{side}' in TEXT
    assert f'{quantizer.codebook_size:,} codes, each for {factor}x{factor} pixels' in TEXT
    assert f'{val.crops:,} crops with {val.crops * (side // factor) ** 2:,} codes' in TEXT
    assert train.dataset.held_out == val.held_out == cfg.default_hooks.report.dataset.held_out == 2
    assert 'The third quarter of each photo, from the left, is held out' in TEXT
    assert f'| **third quarter** | **{cfg.model.reconstruction_loss.weight:g}** |' in TEXT


def test_usage_is_100_in_nine_of_ten_runs_and_never_below_99_8() -> None:
    rows = re.findall(r'\| (\d+) of (\d+) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|', TEXT)
    assert rows
    for full, runs, least, low, _ in rows:
        assert int(full) >= 0.9 * int(runs)
        assert float(least) >= 99.8
        assert float(low) >= 29.0
