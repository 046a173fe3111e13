"""The card of a saved autoencoder: what it takes, what it makes of it, and whether its codebook is folded."""

from __future__ import annotations

from typing import Any

from .errors import UserError
from .projector import find_projectors
from .saving.model_card import CardText, line


def autoencoder_card(autoencoder: Any, name: str) -> CardText:
    """What the card tells of a tokenizer, or of a continuous autoencoder.

    Args:
        autoencoder: An `Autoencoder` that is to be saved.
        name: What `from_pretrained` is to load: a repository id, or a path.
    """
    discrete = autoencoder.quantizer is not None
    what = 'A tokenizer of images to discrete codes' if discrete else 'An autoencoder of images to continuous latents'
    return CardText(
        summary=f'{what} and back, made with FVQ.',
        tags=('image-tokenizer', 'discrete-codes') if discrete else ('image-autoencoder', 'continuous-latents'),
        task='image-reconstruction',
        usage=how_to_load(autoencoder, name),
        facts=facts(autoencoder),
    )


def how_to_load(autoencoder: Any, name: str) -> str:
    """Lines that work as they stand, and the packages they need."""
    height, width = autoencoder.encoder.example_size
    kind, encoded = ('Tokenizer', 'codes') if autoencoder.quantizer is not None else ('Autoencoder', 'latents')
    variable, parts = kind.lower(), [part for part in autoencoder.modules() if hasattr(part, 'component_config')]
    packages = sorted({f'`{type(part).__module__.split(".")[0]}`' for part in parts})
    return f"""\
```python
import torch
from fvq_core.{variable} import {kind}

{variable} = {kind}.from_pretrained({name!r})
{encoded} = {variable}.encode(torch.zeros(1, 3, {height}, {width}))  # RGB float images in [-1, 1]
images = {variable}.decode({encoded})
```

Its parts come from the Python packages {', '.join(packages)}."""


def facts(autoencoder: Any) -> list[tuple[str, str]]:
    """Rows of the table of facts."""
    (height, width), discrete = autoencoder.encoder.example_size, autoencoder.quantizer is not None
    batched = discrete and autoencoder.quantizer.depends_on_batch
    try:
        layout = autoencoder.layout(height, width)
        encoded = f'{layout.length} codes, `{layout}`' if discrete else f'`{layout}`'
    except UserError as error:  # a quantizer that joins positions may not take these; saving must not fail
        encoded = line(str(error))
    return [
        ('image sides', image_sides(autoencoder)),
        (f'{"codes" if discrete else "latent"} of a {height}x{width} image', encoded),
        *([('folded', folding(autoencoder))] if discrete else []),
        *([('batches', 'the codes of an image depend on its batch')] if batched else []),
        ('parameters', f'{sum(p.numel() for p in autoencoder.parameters()):,}'),
    ]


def folding(tokenizer: Any) -> str:
    """Whether the codebook is stored mapped, judged by what is there: a projector with weights or none."""
    names = {type(projector).__name__ for projector in find_projectors(tokenizer.quantizer) if projector.state_dict()}
    if not names:
        return 'yes: no projector, codes are stored as they are used'
    return f'no: {", ".join(sorted(names))} maps the stored codebook; `fold()` gives the tokenizer without it'


def image_sides(autoencoder: Any) -> str:
    """The sizes of images that it takes."""
    (height, width), f = autoencoder.encoder.example_size, autoencoder.downsample_factor
    try:
        autoencoder.layout(height + f, width + f)
    except UserError:
        return f'{height}x{width} pixels only'
    return f'multiples of {f} pixels'
