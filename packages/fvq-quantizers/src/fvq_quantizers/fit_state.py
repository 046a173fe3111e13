"""What a vector quantizer loads of a saved one: folded, without what an update keeps, or with another number of codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops.finite import check_finite_weights
from fvq_core.quantizer import FittedState

# What is kept for training beside the codebook: averages, momenta, whether codes were initialized.
TRAINING_STATE = re.compile(r'(update|loss)\..+|initialized')


def fit_state(quantizer: Any, saved: Mapping[str, Tensor], source: str) -> FittedState:
    """`Quantizer.fit_state` of a `VectorQuantizer`.

    Raises:
        UserError: A folded codebook for a projector, a projector for none, or another number of codes if a projector maps them.
    """
    own = quantizer.state_dict()
    projector, name = quantizer.projector, type(quantizer.projector).__name__
    if 'embedding' in saved and not projector.is_identity and not any(key.startswith('projector.') for key in saved):
        raise UserError(
            f'{source} has a mapped codebook, folded out of its projector, and this config would map it once more; start '
            'from a checkpoint (iter_N.pth) with that projector, or drop model.tokenizer.quantizer.projector.'
        )
    if projector.is_identity and any(key.startswith('projector.') for key in saved):
        raise UserError(
            f'{source} has a projector, this config has none; start from the folder of that run, whose tokenizer is folded, or '
            'from what tools/export.py writes.'
        )
    state = {key: value for key, value in saved.items() if key in own or not TRAINING_STATE.fullmatch(key)}
    codes_KD, note = state.get('embedding', own['embedding']), ''
    had, has = len(codes_KD), quantizer.codebook_size
    resized = quantizer.resizable and had != has and codes_KD.shape[1:] == own['embedding'].shape[1:]
    if resized:
        if not projector.is_identity:
            raise UserError(
                f'{source} has {had} codes and this config {has}, which its {name} maps together, so that none would keep its '
                'meaning; drop model.tokenizer.quantizer.projector, and the mapped codebook is loaded.'
            )
        check_finite_weights({'quantizer.embedding': codes_KD}, source)
        rest = 'they come first, the others start from latents' if has > had else 'those that latents use most are kept'
        note = f'{had} codes there, {has} here: {rest}'
        state = {key: value for key, value in state.items() if not TRAINING_STATE.fullmatch(key)}
        state['embedding'] = own['embedding']  # until there are latents
    missing = {key: value for key, value in own.items() if key not in state and TRAINING_STATE.fullmatch(key)}

    def loaded() -> None:
        if missing:
            quantizer.on_codebook_loaded()
        if resized:
            quantizer.start_from(codes_KD)

    return FittedState({**missing, **state}, "what the codebook's update keeps" if missing else '', note, loaded)
