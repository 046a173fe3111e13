"""The card of a saved generator: whose codes it has learned, and how to draw images with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.codes import CodeLayout
from fvq_core.generator import Generator
from fvq_core.saving.model_card import ABSENT, CardText, line

CLASSES_EXAMPLE = 'images = model.sample(classes=[0, 1])  # RGB float (2, 3, H, W) in [-1, 1]'
CAPTIONS_EXAMPLE = """\
# features_BTC: float (B, {tokens}, {channels}) of the text encoder
# mask_BT: bool (B, {tokens}), True for real tokens, which stand at the end
images = model.sample(features_BTC, caption_mask_BT=mask_BT)  # RGB float (B, 3, H, W) in [-1, 1]"""


def generator_card(
    name: str,
    generator: Generator,
    weights: Mapping[str, Tensor],
    tokenizer_hash: str,
    sampling: Mapping[str, Any],
    with_tokenizer: bool,
) -> CardText:
    """What the card tells of a generator; see `pretrained.generator_save_spec`.

    Args:
        name: What `from_pretrained` is to load: a repository id, or a path.
        with_tokenizer: Whether the tokenizer is saved beside it.
    """
    tokenizer = '' if with_tokenizer else ", tokenizer='FOLDER_OF_ITS_TOKENIZER'"
    example = CLASSES_EXAMPLE
    if generator.caption_shape is not None:
        tokens, channels = generator.caption_shape
        example = CAPTIONS_EXAMPLE.format(tokens=tokens, channels=channels)
    kind = 'discrete codes' if isinstance(generator.layout, CodeLayout) else 'continuous latents'
    usage = (
        '```python\nfrom fvq_generators.image_generator import ImageGenerator\n\n'
        f'model = ImageGenerator.from_pretrained({name!r}{tokenizer})\n{example}\n```'
    )
    saved = ', saved beside it' if with_tokenizer else ', not saved with it'
    return CardText(
        summary=f'A generator of images by {kind}, made with FVQ.',
        tags=('image-generation', kind.replace(' ', '-')),
        task='image-generation',
        usage=usage,
        facts=[
            (f'{kind.split()[1]} of an image', line(json.dumps(generator.layout.to_dict()))),
            ('parameters', f'{sum(value.numel() for value in weights.values()):,}'),
            ('tokenizer', line(tokenizer_hash or ABSENT) + saved),
            ('sampling', line(json.dumps(dict(sampling))) if sampling else ABSENT),
        ],
    )
