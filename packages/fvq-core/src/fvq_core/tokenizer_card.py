"""The card of a saved tokenizer: what it takes, how many codes it makes, and whether it is folded."""

from __future__ import annotations

from typing import Any

from .errors import UserError
from .projector import find_projectors
from .saving.model_card import CardText, line

EXAMPLE_SIDE = 256  # pixels of the image in the example, rounded up to what the tokenizer takes


def tokenizer_card(tokenizer: Any, name: str) -> CardText:
    """What the card tells of a tokenizer.

    Args:
        tokenizer: A `Tokenizer` that is to be saved.
        name: What `from_pretrained` is to load: a repository id, or a path.
    """
    return CardText(
        summary='A tokenizer of images to discrete codes and back, made with FVQ.',
        tags=('image-tokenizer', 'discrete-codes'),
        task='image-reconstruction',
        usage=how_to_load(tokenizer, name),
        facts=facts(tokenizer),
    )


def how_to_load(tokenizer: Any, name: str) -> str:
    """Lines that work as they stand, and the packages they need."""
    side = example_side(tokenizer)
    parts = [module for module in tokenizer.modules() if hasattr(module, 'component_config')]
    packages = sorted({type(part).__module__.split('.')[0] for part in parts})
    return '\n'.join(
        [
            '```python',
            'import torch',
            'from fvq_core.tokenizer import Tokenizer',
            '',
            f'tokenizer = Tokenizer.from_pretrained({name!r})',
            f'codes = tokenizer.encode(torch.zeros(1, 3, {side}, {side}))  # RGB float images in [-1, 1]',
            'images = tokenizer.decode(codes)',
            '```',
            '',
            f'Its parts come from the Python packages {", ".join(f"`{package}`" for package in packages)}.',
        ]
    )


def facts(tokenizer: Any) -> list[tuple[str, str]]:
    """Rows of the table of facts."""
    f, side = tokenizer.downsample_factor, example_side(tokenizer)
    try:
        layout = tokenizer.layout(side, side)
        codes = f'{layout.length} codes, `{layout}`'
    except UserError as error:  # a quantizer made for other sizes says so
        codes = line(str(error))
    return [
        ('image sides', f'multiples of {f} pixels'),
        (f'codes of a {side}x{side} image', codes),
        ('folded', folding(tokenizer)),
        ('parameters', f'{sum(p.numel() for p in tokenizer.parameters()):,}'),
    ]


def folding(tokenizer: Any) -> str:
    """Whether the codebook is stored mapped, judged by what is there: a projector with weights or none."""
    names = {type(projector).__name__ for projector in find_projectors(tokenizer.quantizer) if projector.state_dict()}
    if not names:
        return 'yes: no projector, codes are stored as they are used'
    return f'no: {", ".join(sorted(names))} maps the stored codebook; `fold()` gives the tokenizer without it'


def example_side(tokenizer: Any) -> int:
    """Pixels."""
    f = tokenizer.downsample_factor
    return -(-EXAMPLE_SIDE // f) * f
