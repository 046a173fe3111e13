"""The README.md of a saved generator: metadata for the hub, how to load it, and what is known of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fvq_core.saving.model_card import ABSENT, LIBRARY, CardMetadata, line, metrics_table, table

TAGS = ('image-generation', 'autoregressive', 'discrete-codes')


def generator_card(config: Mapping[str, Any], parameters: int, with_tokenizer: bool, metadata: CardMetadata) -> str:
    """The text of the card.

    Args:
        config: The contents of its `config.json`.
        parameters: Numbers in its state dict.
        with_tokenizer: Whether the tokenizer is saved beside it.
        metadata: What the owner says, with a name.
    """
    # Imported here: huggingface_hub is needed to save, not to import this module.
    from huggingface_hub.repocard_data import ModelCardData

    name = str(metadata.name)
    title = line(name.rsplit('/', 1)[-1])
    data = ModelCardData(
        library_name=LIBRARY, tags=list(TAGS), license=metadata.license, datasets=list(metadata.datasets) or None
    )
    hash_ = config['tokenizer_hash']
    versions = {'saved with fvq': config['fvq_version'], **(config.get('versions') or {})}
    facts = [
        ('codes of an image', line(json.dumps(config['generator'].get('layout')))),
        ('numbers in its weights', f'{parameters:,}'),
        ('tokenizer', line(hash_ or ABSENT) + (', saved beside it' if with_tokenizer else ', not saved with it')),
        ('sampling', line(json.dumps(config['sampling'])) if config['sampling'] else ABSENT),
        ('weights', line(config.get('weights', ABSENT))),
        ('seed', line(config.get('seed', ABSENT))),
        ('training config', line(config.get('config') or ABSENT)),
        ('versions', line(', '.join(f'{key} {value}' for key, value in versions.items()))),
    ]
    tokenizer = '' if with_tokenizer else ", tokenizer='FOLDER_OF_ITS_TOKENIZER'"
    generator = config['generator']
    draw = 'images = model.sample(classes=[0, 1])  # RGB float (2, 3, H, W) in [-1, 1]'
    if generator.get('caption_dim'):
        places = generator.get('caption_tokens', 'T')
        draw = (
            f'# features_BTC: float (B, {places}, {generator["caption_dim"]}) of the text encoder\n'
            f'# mask_BT: bool (B, {places}), True for real tokens, which stand at the end\n'
            'images = model.sample(features_BTC, caption_mask_BT=mask_BT)  # RGB float (B, 3, H, W) in [-1, 1]'
        )
    sections = [
        f'---\n{data.to_yaml()}\n---',
        f'# {title}',
        'A generator of images by codes, one after the other, made with FVQ.',
        '## Load\n\n```python\nfrom fvq_generators.image_model import AutoregressiveImageModel\n\n'
        f'model = AutoregressiveImageModel.from_pretrained({name!r}{tokenizer})\n'
        f'{draw}\n```',
        f'## Facts\n\n{table(("what", "value"), facts)}',
        f'## Metrics\n\n{metrics_table(config.get("metrics") or {}, metadata.evaluated_on)}',
        f'## Config\n\n```json\n{json.dumps(config["generator"], indent=2)}\n```',
    ]
    return '\n\n'.join(sections) + '\n'
