"""The config of the small generator that some codes get."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Pyramid
from fvq_core.config.data import config_text
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS

SMALL = 'configs/generation/small'


def default_config(layout: CodeLayout) -> str:
    """LlamaGen for one code a position, RQ-Transformer for several, VAR for scales, Infinity for scales of bits."""
    of_scales, several = isinstance(layout.positions, Pyramid), layout.slots > 1
    kind = ('infinity' if several else 'var') if of_scales else 'rq_transformer' if several else 'llamagen'
    return f'{SMALL}/{kind}.py'


def generator_config(source: str | None, layout: CodeLayout, options: Mapping[str, Any] | None = None) -> Config:
    """The config at a path, by default the one that these codes fit, for these codes.

    Args:
        source: The path.
        layout: Of the codes.
        options: More that is set, by dotted path.

    Raises:
        UserError: It is not the config of a generator.
    """
    path = source or default_config(layout)
    cfg = load_config(path, options or {})
    if 'generator' not in cfg.get('model', {}):
        raise UserError(f'{path}: expected the config of a generator, got one without model.generator; see {SMALL}.')
    cfg.model['generator']['layout'] = layout.to_dict()  # whole: one of another kind has other fields
    return cfg


def check_generator(source: str | None, layout: CodeLayout | None) -> None:
    """Raise before anything is trained if a row's codes get no generator.

    Args:
        source: See `generator_config`.
        layout: Of the row's codes; None if it has none.

    Raises:
        UserError: No codes, codes that the generator does not take, or one whose loss is not a likelihood.
    """
    if layout is None:
        raise UserError('expected codes to predict, got a continuous autoencoder.')
    cfg = generator_config(source, layout)
    with torch.device('meta'):
        generator = GENERATORS.build(dict(cfg.model['generator']))
    if not generator.likelihood:
        raise UserError(
            f'{type(generator).__name__}: expected a generator whose loss is the likelihood of its codes, got one that has no '
            f'bits an image; take one of {SMALL}.'
        )


def write_config(
    path: Path, source: str | None, tokenizer: Path, autoencoder: Autoencoder, size: int, options: Mapping[str, Any]
) -> None:
    """Write the config of the generator of a run.

    Args:
        path: File to write.
        source, options: See `generator_config`.
        tokenizer: Folder of the autoencoder, for generators that ask its quantizer.
        autoencoder: Makes the codes.
        size: Side of the crops in pixels.
    """
    layout = autoencoder.layout(size, size)
    if not isinstance(layout, CodeLayout):
        raise UserError('a continuous autoencoder has no codes to predict.')
    cfg = generator_config(source, layout, options)
    if 'code_dim' in cfg.model['generator']:
        cfg.model['generator']['code_dim'] = autoencoder.require_quantizer('benchmark').code_dim
    if 'tokenizer' in cfg.model:
        cfg.model['tokenizer'] = str(tokenizer)
    path.write_text(config_text(cfg.to_dict()))
