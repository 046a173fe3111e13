"""A released file, imported, is what the config of its row describes: `create_model(NAME, pretrained=FOLDER)` takes it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fvq_core.registry import IMPORTERS, TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_core.zoo import check_described, model_config

from .test_interop import llamagen_state, taming_state, var_state
from .test_interop_optvq import magvit2_state, optvq_state
from .test_maskgit_vq import port_state

State = Callable[[Tokenizer], dict[str, Tensor]]


def with_codebook(state: State) -> State:
    return lambda ours: state(ours) | {'quantize.embedding.weight': ours.quantizer.embedding.detach()}


@pytest.mark.parametrize(
    ('peer', 'name', 'state'),
    [
        ('taming', 'vqgan_1k', with_codebook(taming_state)),
        ('taming', 'vqgan_16k', with_codebook(taming_state)),
        ('taming', 'vqgan_sd', with_codebook(taming_state)),
        ('ibq', 'ibq_16k', with_codebook(taming_state)),
        ('ibq', 'ibq_262k_4res', with_codebook(taming_state)),
        ('llamagen', 'llamagen_16k', with_codebook(llamagen_state)),
        ('open-magvit2', 'open_magvit2_262k', magvit2_state),
        ('optvq', 'optvq_16k', optvq_state),
        ('optvq', 'optvq_16k_h8', optvq_state),
        ('var', 'var_4k', var_state),
        ('maskgit-vq', 'maskgit_1k', port_state),
    ],
)
def test_an_imported_file_is_what_the_config_of_its_row_describes(peer: str, name: str, state: State) -> None:
    importer, (_, description) = IMPORTERS.registered(peer), model_config(name)
    assert importer is not None
    build = functools.partial(TOKENIZERS.build, description)
    with torch.device('meta'):
        imported = TOKENIZERS.build(importer.read(state(build()))[0])
        check_described(imported, build, name)
