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
    return CardText(
        summary=(
            'A tokenizer of images to discrete codes and back, made with FVQ.'
            if discrete
            else 'An autoencoder of images to continuous latents and back, made with FVQ.'
        ),
        tags=('image-tokenizer', 'discrete-codes') if discrete else ('image-autoencoder', 'continuous-latents'),
        task='image-reconstruction',
        usage=how_to_load(autoencoder, name),
        facts=facts(autoencoder),
    )


def how_to_load(autoencoder: Any, name: str) -> str:
    """Lines that work as they stand, and the packages they need."""
    side = example_side(autoencoder)
    variable, encoded, class_name = (
        ('tokenizer', 'codes', 'tokenizer.Tokenizer')
        if autoencoder.quantizer is not None
        else ('autoencoder', 'latents', 'autoencoder.Autoencoder')
    )
    module, class_name = class_name.split('.')
    parts = [module for module in autoencoder.modules() if hasattr(module, 'component_config')]
    packages = sorted({type(part).__module__.split('.')[0] for part in parts})
    return '\n'.join(
        [
            '```python',
            'import torch',
            f'from fvq_core.{module} import {class_name}',
            '',
            f'{variable} = {class_name}.from_pretrained({name!r})',
            f'{encoded} = {variable}.encode(torch.zeros(1, 3, {side}, {side}))  # RGB float images in [-1, 1]',
            f'images = {variable}.decode({encoded})',
            '```',
            '',
            f'Its parts come from the Python packages {", ".join(f"`{package}`" for package in packages)}.',
        ]
    )


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
