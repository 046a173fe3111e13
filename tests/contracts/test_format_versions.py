"""Files of another version are refused in one line that names the version and the command that makes them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError
from fvq_core.training.checkpoint import newest_readable, read_checkpoint
from tests.tiny import tiny_tokenizer

EARLIER = 'has version 1 of an earlier FVQ, this one reads version 2'
NEWER = 'has version 3 of a newer FVQ, this one reads version 2; update FVQ'


@pytest.mark.parametrize(
    ('version', 'message'),
    [
        (None, f'{EARLIER}; export the tokenizer again with tools/export.py'),
        (3, NEWER),
        ('2', "version '2' of an earlier"),
    ],
)
def test_a_saved_model_of_another_version_is_refused(tmp_path: Path, version: Any, message: str):
    folder = tiny_tokenizer().save_pretrained(tmp_path / 'tokenizer')
    config = json.loads((folder / 'config.json').read_text())
    assert config.pop('format_version') == 2
    (folder / 'config.json').write_text(
        json.dumps(config if version is None else {**config, 'format_version': version})
    )
    with pytest.raises(UserError, match=message):
        Autoencoder.from_pretrained(folder)


@pytest.mark.parametrize(('version', 'message'), [({}, f'{EARLIER}; train again'), (dict(format_version=3), NEWER)])
def test_a_checkpoint_of_another_version_is_refused_and_not_skipped(tmp_path: Path, version: Any, message: str):
    for iteration in (1, 2):
        meta = dict(iter=iteration, fvq_version='0.1.0', **version)
        torch.save(dict(state_dict={}, meta=meta), tmp_path / f'iter_{iteration}.pth')
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / 'iter_2.pth')
    with pytest.raises(UserError, match=message):
        newest_readable(tmp_path, logger=None)
