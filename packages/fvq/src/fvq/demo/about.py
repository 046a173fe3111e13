"""What a model is, in one line for the page."""

from __future__ import annotations

import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout
from fvq_core.errors import UserError
from fvq_core.positions import Grid, Pyramid, Sequence
from fvq_generators.image_generator import ImageGenerator


def about_tokenizer(autoencoder: Autoencoder) -> str:
    """Its codes and its size."""
    size = millions(autoencoder)
    height, width = autoencoder.encoder.example_size
    try:
        layout = autoencoder.layout(height, width)
    except UserError:  # a quantizer that joins positions may not take these sides
        return f'{size} parameters'
    if not isinstance(layout, CodeLayout):
        f, channels = autoencoder.downsample_factor, autoencoder.latent_channels
        sequence = isinstance(layout.positions, Sequence)
        place = f'each of {layout.positions.length} tokens' if sequence else f'each {f}x{f} pixels'
        return f'Continuous: {channels} numbers for {place}, no codes; {size} parameters'
    books = ' x '.join(f'{each:,}' for each in dict.fromkeys(layout.vocabularies))
    each = 'One code' if layout.slots == 1 else f'{layout.slots} codes'
    positions = layout.positions
    if isinstance(positions, Grid):
        place = f'{each} for each {height // positions.height}x{width // positions.width} pixels'
    elif isinstance(positions, Pyramid):
        place = f'{layout.length:,} codes on {len(positions.scales)} scales of a {width}x{height} image'
    else:
        place = f'{layout.length} tokens for a {width}x{height} image'
    return f'{place}, of {books}; {size} parameters'


def about_generator(model: ImageGenerator) -> str:
    """Its kind, its images and its size."""
    classes = model.generator.num_classes
    conditions = 'captions' if classes is None else f'{classes:,} class{"es" * (classes != 1)}'
    height, width = model.image_size
    return f'{type(model.generator).__name__}: {width}x{height} images of {conditions}; {millions(model.generator)} parameters'


def millions(model: torch.nn.Module) -> str:
    """The number of its parameters, in words."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return f'{count / 1e6:.1f} million' if count >= 1e5 else f'{count:,}'
