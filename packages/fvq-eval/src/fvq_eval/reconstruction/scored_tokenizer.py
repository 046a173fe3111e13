"""A saved tokenizer's scores under presets in a file, with the hashes of what they are of."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.files.hash import file_sha256
from fvq_core.files.json import read_json, write_json
from fvq_core.progress import Progress
from fvq_core.saving.kind import CONFIG_NAME, WEIGHTS_NAME
from fvq_core.saving.read_folder import find_folder
from fvq_core.stamp import versions

from .evaluator import PresetEvaluator
from .trained_with import warn_of_same_network

FOLDER = 'scores'  # in the folder of the table
HASHES = {'weights_sha256': WEIGHTS_NAME, 'config_sha256': CONFIG_NAME}


@dataclass(frozen=True)
class SavedTokenizer:
    """A tokenizer or another autoencoder, not yet loaded.

    Attributes:
        source: A folder, or `user/name` on the hub, as it was given.
        folder: Where its files are.
        hashes: SHA-256 of its files, by what they are called in a document.
    """

    source: str
    folder: Path
    hashes: dict[str, str]

    @classmethod
    def find(cls, source: str) -> SavedTokenizer:
        """Fetch it if it is on the hub; raises a `UserError` if it is nowhere."""
        folder = find_folder(source, Autoencoder.saved_kind)
        files = {key: folder / name for key, name in HASHES.items()}
        return cls(source, folder, {key: file_sha256(path) for key, path in files.items() if path.is_file()})

    def load(self, device: torch.device) -> Autoencoder:
        """The model, in eval mode."""
        return Autoencoder.from_pretrained(self.folder, device)


def data_facts(files: ImageDataset, data: str) -> dict[str, Any]:
    """What the images are: a SHA-256 over names and bytes of all files, in order, and their number."""
    digest = hashlib.sha256()
    with Progress('hashing', len(files), log=logging.getLogger('fvq').info, unit='image') as bar:
        for number in bar.over(range(len(files))):
            try:
                content = hashlib.sha256(files.read(number)).hexdigest()
            except OSError:  # the evaluation reports it
                content = 'unreadable'
            digest.update(os.fsencode(f'{files.names[number]} {content}\n'))
    return {'data': data, 'data_sha256': digest.hexdigest(), 'data_images': len(files)}


class ScoredTokenizers:
    """Scores tokenizers one after the other; each is a file below `out`, and not scored again under the same settings.

    Args:
        out: Folder of the table.
        files: The images.
        facts: Of these images, from `data_facts`, and of all that decides on the numbers.
        make_evaluator: A new evaluator, for each tokenizer.
    """

    def __init__(self, out: Path, files: ImageDataset, facts: dict[str, Any], make_evaluator: Any) -> None:
        self.folder, self.files, self.facts, self.make_evaluator = out / FOLDER, files, facts, make_evaluator

    def path(self, saved: SavedTokenizer) -> Path:
        """The file of a tokenizer."""
        return self.folder / f'{saved.hashes.get("weights_sha256", "missing")[:16]}.json'

    def found(self, saved: SavedTokenizer) -> dict[str, Any] | None:
        """What an earlier call measured of the same weights, images and settings."""
        document = read_json(self.path(saved)) or {}
        wanted = {**saved.hashes, **self.facts}
        same = all(document.get(key) == value for key, value in wanted.items() if key != 'data')
        return {**document, 'tokenizer': saved.source} if document and same else None

    def score(self, saved: SavedTokenizer, device: torch.device, batch_size: int, workers: int) -> dict[str, Any]:
        """Measure it, and leave the file; {} on other ranks than the main one. Raises a `UserError` if it cannot be scored."""
        autoencoder = saved.load(device)
        evaluator: PresetEvaluator = self.make_evaluator()
        if line := warn_of_same_network(evaluator.extractor, autoencoder.loaded_facts[1].get('trained_with') or []):
            evaluator.leave_out(line)
        started = time.perf_counter()
        values = evaluator.evaluate(autoencoder, self.files, batch_size, workers)
        seconds = time.perf_counter() - started
        if not is_main_process():
            return {}
        document = {
            'tokenizer': saved.source,
            **saved.hashes,
            **self.facts,
            'rates': rates(autoencoder, evaluator.presets[0].crop.size),
            'metrics': {key: {**value.to_dict(), 'weights': saved.source} for key, value in values.items()},
            'presets': {preset.name: preset.to_dict() for preset in evaluator.presets},
            'left_out': evaluator.left_out,
            'seconds': round(seconds, 1),
            'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU',
            'versions': versions(),
            **evaluator.facts,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.path(saved), document)
        return document


def rates(autoencoder: Autoencoder, side: int) -> dict[str, Any]:
    """What the codes of a crop cost: positions, codes, vocabularies, bits; without codes the numbers of its latent only."""
    parameters = sum(parameter.numel() for parameter in autoencoder.parameters())
    layout = autoencoder.layout(side, side)
    if not isinstance(layout, CodeLayout):
        return {'parameters': parameters, 'latent_channels': autoencoder.latent_channels}
    bits = layout.positions.length * sum(math.log2(size) for size in layout.vocabularies)
    return {
        'parameters': parameters,
        'codes': layout.length,
        'vocabularies': list(dict.fromkeys(layout.vocabularies)),
        'bits_per_image': bits,
        'bits_per_pixel': bits / side**2,
    }
