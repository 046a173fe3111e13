"""Generators as folders: `config.json`, `model.safetensors`, `README.md`, and the tokenizer in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.registry import GENERATORS, describe
from fvq_core.saving.kind import CONFIG_NAME, Provenance, SavedKind, SaveSpec
from fvq_core.saving.model_card import CardMetadata
from fvq_core.saving.read_folder import load_folder
from fvq_core.saving.write_folder import save_folder

from .generator_card import generator_card

TOKENIZER_FOLDER = 'tokenizer'
GENERATOR = SavedKind(
    'generator',
    GENERATORS,
    remedy='save the generator again',
    keys=dict(tokenizer_hash=str, sampling=dict),
    parts={TOKENIZER_FOLDER: Autoencoder.saved_kind},
    init_on_meta=True,
)


def generator_save_spec(
    generator: Generator,
    weights: Mapping[str, Tensor],
    tokenizer_hash: str = '',
    sampling: Mapping[str, Any] | None = None,
    tokenizer: Autoencoder | None = None,
    loaded_facts: Provenance = (None, {}),
) -> SaveSpec:
    """What the folder of a generator is to hold.

    Args:
        generator: Built from a config.
        weights: Its state dict, or an average of it.
        tokenizer_hash: Fingerprint of the tokenizer whose codes it has learned; '' if that is not known.
        sampling: Settings that were found good, used if a caller gives none.
        tokenizer: Saved with it, folded.
        loaded_facts: See `SaveSpec`.
    """
    sampling = dict(sampling or {})
    return SaveSpec(
        GENERATOR,
        GENERATOR.describe(generator),
        weights,
        card=lambda name: generator_card(name, generator, weights, tokenizer_hash, sampling, tokenizer is not None),
        keys=dict(tokenizer_hash=tokenizer_hash, sampling=sampling),
        parts={} if tokenizer is None else {TOKENIZER_FOLDER: tokenizer.fold().save_pretrained},
        loaded_facts=loaded_facts,
    )


def save_generator(
    generator: Generator,
    weights: Mapping[str, Tensor],
    folder: str | Path,
    *,
    extra: Mapping[str, Any] | None = None,
    card: CardMetadata | None = None,
    **options: Any,
) -> Path:
    """Write a generator to a folder, and return that; see `save_folder`. `options` are those of `generator_save_spec`."""
    return save_folder(generator_save_spec(generator, weights, **options), folder, extra, card)


def load_generator(folder: str | Path) -> tuple[Generator, dict[str, Any]]:
    """A saved generator in eval mode on the CPU, and its `config.json`; see `load_folder`."""
    generator, config = load_folder(folder, GENERATOR)
    generator.Sampling.check(config.get('sampling', {}), str(Path(folder) / CONFIG_NAME))
    return generator, config


def checkpoint_generator(
    path: str | Path, weights: Literal['ema', 'raw'] | None = None
) -> tuple[Generator, dict[str, Any]]:
    """The generator of a Runner's `iter_N.pth`, and a config as `load_generator` gives it.

    `weights` are chosen as in `fvq_core.training.evaluation.load_task`.

    Raises:
        UserError: No checkpoint, one of something else, or with settings of sampling that its generator does not have.
    """
    # Imported here: a saved generator needs no runner.
    from fvq_core.training.checkpoint import read_checkpoint
    from fvq_core.training.load_task import load_task

    checkpoint = read_checkpoint(path)
    task = load_task(checkpoint, str(path), weights=weights)
    generator = getattr(task, 'generator', None)
    if not isinstance(generator, Generator):
        raise UserError(f'{path} is a checkpoint of a {type(task).__name__}, not of a generator.')
    sampling = checkpoint.get('sampling', {})
    generator.Sampling.check(sampling, str(path))
    config = {
        GENERATOR.name: describe(generator),
        'tokenizer_hash': checkpoint.get('tokenizer_hash', ''),
        'sampling': sampling,
        'weights': f'{path}{task.weights_note}',
    }
    return generator.eval(), config
