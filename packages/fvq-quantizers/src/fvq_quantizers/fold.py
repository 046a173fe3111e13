"""Folding a vector quantizer: its mapped codebook, without what was needed to train it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from fvq_core.ops.nearest_code import full_precision
from fvq_core.registry import CODEBOOK_INITS, CODEBOOK_UPDATES, PROJECTORS


def fold_vector_quantizer(quantizer: Any, label: int | None = None) -> Any:
    """A copy for inference: the mapped codebook replaces projector and raw codebook. Codes and values stay the same.

    What init and update keep for training (averages, momenta of the raw codebook) is dropped too.

    Args:
        quantizer: A `VectorQuantizer`; it stays as it is.
        label: For a class-conditional projector, the class whose codebook is kept; by default that of its config.

    Raises:
        UserError: A class-conditional projector without a label, or a label for a projector without classes.
    """
    label = quantizer.projector.label_to_fold(label)
    was_training = quantizer.training
    quantizer.eval()
    with torch.no_grad(), full_precision(quantizer.embedding.device.type):
        labels = () if label is None else (torch.tensor([label]),)
        mapped_KD = quantizer.projector(quantizer.embedding, *labels).reshape(quantizer.codebook_size, -1).clone()
    quantizer.train(was_training)
    folded = copy.copy(quantizer)
    folded._modules = {**quantizer._modules, 'projector': None, 'update': None}
    folded._parameters, folded._buffers = {}, {}
    folded = copy.deepcopy(folded)
    folded.projector = PROJECTORS.build(
        dict(type='IdentityProjector'), codebook_size=quantizer.codebook_size, code_dim=quantizer.code_dim
    )
    folded.update = CODEBOOK_UPDATES.build(dict(type='GradientUpdate'))
    folded.init = CODEBOOK_INITS.build(dict(type='UniformInit'))
    folded._initialized = True
    config = getattr(quantizer, 'component_config', {})
    kept = {key: value for key, value in config.items() if key not in ('update', 'init')}
    folded.component_config = {**kept, 'projector': {}}
    folded.embedding = nn.Parameter(mapped_KD)
    return folded.eval()
