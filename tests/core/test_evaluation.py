"""Which weights of a checkpoint are read, and that a trained model needs no training network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from fvq_core.errors import UserError
from fvq_core.registry import MODELS
from fvq_core.training.load_task import load_task
from tests.tiny import tokenizer_config


def checkpoint_of(average: bool, **losses: Any) -> tuple[dict[str, Any], Config]:
    model = dict(type='TokenizerTask', tokenizer=tokenizer_config(), reconstruction_loss=dict(type='L2Loss'), **losses)
    state = MODELS.build(model).state_dict()
    checkpoint = {'state_dict': state}
    if average:
        tokenizer = {key: value for key, value in state.items() if key.startswith('tokenizer.')}
        checkpoint['ema_state_dict'] = {key: value + 1 for key, value in tokenizer.items()}
    return checkpoint, Config(dict(model=model))


KEY = 'tokenizer.encoder.conv_in.bias'


@pytest.mark.parametrize(
    ('weights', 'shift', 'note'),
    [(None, 1, ' (moving average)'), ('ema', 1, ' (moving average)'), ('raw', 0, ' (raw weights)')],
)
def test_average_or_raw_weights_by_choice(weights: Any, shift: float, note: str) -> None:
    checkpoint, cfg = checkpoint_of(average=True)
    task = load_task(checkpoint, 'x.pth', cfg, weights)
    assert torch.equal(task.state_dict()[KEY], checkpoint['state_dict'][KEY] + shift)
    assert task.weights_note == note


def test_an_average_that_is_not_there_is_refused() -> None:
    checkpoint, cfg = checkpoint_of(average=False)
    with pytest.raises(UserError, match=r'x\.pth has no moving average; use --weights raw'):
        load_task(checkpoint, 'x.pth', cfg, 'ema')
    assert load_task(checkpoint, 'x.pth', cfg).weights_note == ''


def test_a_checkpoint_needs_no_file_of_start_values(tmp_path: Path) -> None:
    path = tmp_path / 'codes.npy'
    _, cfg = checkpoint_of(average=False)
    quantizer = cfg.model.tokenizer.quantizer
    np.save(path, np.ones((quantizer.codebook_size, quantizer.code_dim), np.float32))
    quantizer.init = dict(type='FileInit', path=str(path))
    checkpoint = {'state_dict': MODELS.build(cfg.model).state_dict()}
    path.unlink()
    task = load_task(checkpoint, 'x.pth', cfg)
    assert (task.tokenizer.quantizer.embedding == 1).all()
    assert quantizer.init.type == 'FileInit'
