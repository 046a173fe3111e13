"""A generator and the autoencoder whose codes or latents it models."""

from __future__ import annotations

from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError
from fvq_core.generator import Generator


def bind_checked(generator: Generator, autoencoder: Autoencoder) -> None:
    """Bind a generator to the quantizer of its autoencoder, if that has one.

    Args:
        generator: See `Generator.bind`.
        autoencoder: Folded, in eval mode.

    Raises:
        UserError: The autoencoder cannot decode what the generator draws, or its quantizer does not follow the protocol that
            the generator needs.
    """
    name, quantizer = type(generator).__name__, autoencoder.quantizer
    try:
        autoencoder.check_layout(generator.layout)
    except UserError as error:
        raise UserError(
            f'{name} draws what this {type(autoencoder).__name__} cannot decode ({str(error).rstrip(".")}); use the tokenizer '
            'that its training codes were extracted with.'
        ) from error
    wanted = generator.binds_to
    if wanted is not None and not isinstance(quantizer, wanted):
        given = 'none' if quantizer is None else type(quantizer).__name__
        raise UserError(f'{name} needs a quantizer that follows {wanted.__name__}, got {given}; use another tokenizer.')
    if quantizer is not None:
        generator.bind(quantizer)
