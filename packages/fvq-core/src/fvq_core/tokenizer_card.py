"""The card of a saved autoencoder: what it takes, what it makes of it, and whether its codebook is folded."""

from __future__ import annotations

from typing import Any

from .errors import UserError
from .projector import find_projectors
from .saving.model_card import CardText, line

EXAMPLE_SIDE = 256  # pixels of the image in the example, rounded up to what the tokenizer takes


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
    side = example_side(autoencoder)
    kind, encoded = ('Tokenizer', 'codes') if autoencoder.quantizer is not None else ('Autoencoder', 'latents')
    variable, parts = kind.lower(), [part for part in autoencoder.modules() if hasattr(part, 'component_config')]
    packages = sorted({f'`{type(part).__module__.split(".")[0]}`' for part in parts})
    return f"""\
```python
import torch
from fvq_core.{variable} import {kind}

{variable} = {kind}.from_pretrained({name!r})
{encoded} = {variable}.encode(torch.zeros(1, 3, {side}, {side}))  # RGB float images in [-1, 1]
images = {variable}.decode({encoded})
```

Its parts come from the Python packages {', '.join(packages)}."""


def facts(autoencoder: Any) -> list[tuple[str, str]]:
    """Rows of the table of facts."""
    f, side, discrete = autoencoder.downsample_factor, example_side(autoencoder), autoencoder.quantizer is not None
    try:
        layout = autoencoder.layout(side, side)
        encoded = f'{layout.length} codes, `{layout}`' if discrete else f'`{layout}`'
    except UserError as error:  # of a model made for images of one size
        encoded = line(str(error))
    return [
        ('image sides', f'multiples of {f} pixels'),
        (f'{"codes" if discrete else "latent"} of a {side}x{side} image', encoded),
        *([('folded', folding(autoencoder))] if discrete else []),
        ('parameters', f'{sum(p.numel() for p in autoencoder.parameters()):,}'),
    ]


def folding(tokenizer: Any) -> str:
    """Whether the codebook is stored mapped, judged by what is there: a projector with weights or none."""
    names = {type(projector).__name__ for projector in find_projectors(tokenizer.quantizer) if projector.state_dict()}
    if not names:
        return 'yes: no projector, codes are stored as they are used'
    return f'no: {", ".join(sorted(names))} maps the stored codebook; `fold()` gives the tokenizer without it'


def example_side(autoencoder: Any) -> int:
    """Pixels."""
    f = autoencoder.downsample_factor
    return -(-EXAMPLE_SIDE // f) * f
