"""`subprocess.Popen` as a `type` in every field of every JSON that describes something to build: nothing is started."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.codes import layout_from_dict
from fvq_core.config.data import config_data
from fvq_core.errors import UserError
from fvq_core.registry import MODELS
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.load_task import load_task
from fvq_eval.runs.measurements import find_measurements
from fvq_generators.codes_store.manifest import read_manifest
from fvq_generators.pretrained import load_generator, save_generator

from ..generators.test_codes_store import plan, some_codes, write
from ..generators.tiny import tiny_generator
from ..tiny import tiny_tokenizer, tokenizer_config

POPEN = {'type': 'subprocess.Popen', 'args': ['touch', 'pwned']}
MODEL = dict(type='TokenizerTask', tokenizer=tokenizer_config(), reconstruction_loss=dict(type='L2Loss'))


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value of a document, by the keys that lead to it."""
    if path:
        yield path
    entries = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in entries:
        yield from places(value, (*path, key))


def mutated(document: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The document with each value replaced, and with each `type` renamed."""
    for path in places(document):
        changed = copy.deepcopy(document)
        node = changed
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = POPEN['type'] if path[-1] == 'type' else POPEN
        yield path, changed


def saved_tokenizer(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    return tiny_tokenizer().save_pretrained(
        folder / 'tokenizer', {'weights': 'x'}
    ) / 'config.json', lambda path: Tokenizer.from_pretrained(path.parent)


def saved_generator(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    weights = tiny_generator().state_dict()
    save_generator(tiny_generator(), weights, folder / 'generator', sampling=dict(cfg_scale=1.5))
    return folder / 'generator' / 'config.json', lambda path: load_generator(path.parent)


def store(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    write(folder / 'codes', plan(), some_codes(plan()))
    return folder / 'codes' / 'manifest.json', lambda path: read_manifest(path.parent)


def checkpoint(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / 'checkpoint.json'
    path.write_text(json.dumps(config_data(dict(model=MODEL, randomness=dict(seed=0)))))
    state = MODELS.build(MODEL).state_dict()

    def read(path: Path) -> Any:
        return load_task({'state_dict': state, 'meta': dict(config=json.loads(path.read_text()))}, str(path))

    return path, read


def metrics(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    value = {'value': 1.0, 'unit': '', 'preset': 'strict', 'protocol': 'x', 'samples': 10, 'weights': 'iter_9.pth'}
    document = {
        'metrics': {'psnr': value},
        'config': 'configs/mini/vq.py',
        'resolved_config': config_data(dict(model=MODEL)),
    }
    path = folder / 'metrics.json'
    path.write_text(json.dumps({**document, 'presets': {'strict': {'name': 'strict'}}}))
    return path, lambda path: find_measurements([str(path)])


def layout(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / 'layout.json'
    path.write_text(json.dumps({'type': 'Pyramid', 'scales': [[1, 1], [2, 2]], 'codebook_size': 16}))
    return path, lambda path: layout_from_dict(json.loads(path.read_text()))


@pytest.mark.parametrize('kind', [saved_tokenizer, saved_generator, store, checkpoint, metrics, layout])
def test_nothing_that_a_file_names_is_started(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, read = kind(tmp_path)
    document = json.loads(path.read_text())
    read(path)  # as it is
    accepted = []
    for place, changed in mutated(document):
        path.write_text(json.dumps(changed))
        with torch.inference_mode(), contextlib.suppress(UserError):
            read(path)
            accepted.append(place)
        assert not Path('pwned').exists(), place
    types = [place for place in places(document) if place[-1] == 'type' and 'resolved_config' not in place]
    assert not set(types) & set(accepted)
