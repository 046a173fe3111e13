"""Overrides of a config: a new type brings its own arguments, and hints name what the component at hand takes."""

from __future__ import annotations

import pytest

from fvq_core.config.read import load_config
from fvq_core.errors import UserError

FVQ = 'configs/fvq/fvq_16k.py'
PROJECTOR = 'model.tokenizer.quantizer.projector'
QUANTIZER = 'model.tokenizer.quantizer'


@pytest.mark.parametrize('turned', [False, True])
def test_an_argument_of_the_new_type_is_known_whatever_the_order_of_the_options(turned: bool) -> None:
    options = {f'{PROJECTOR}.type': 'DiTBridge', f'{PROJECTOR}.num_classes': 1000}
    cfg = load_config(FVQ, dict(reversed(options.items())) if turned else options)
    assert cfg.model.tokenizer.quantizer.projector == dict(type='DiTBridge', patch_size=16, num_classes=1000)


def test_an_argument_that_only_the_old_type_has_is_refused_by_the_new_one() -> None:
    with pytest.raises(UserError, match=r"projector has no 'patch_siz'"):
        load_config(FVQ, {f'{PROJECTOR}.type': 'DiTBridge', f'{PROJECTOR}.patch_siz': 4})
    with pytest.raises(UserError, match=r"projector: LinearProjector has no argument 'patch_size'"):
        load_config(FVQ, {f'{PROJECTOR}.type': 'LinearProjector'})


def test_types_inside_a_new_type_are_looked_up_in_it() -> None:
    inner = {f'{QUANTIZER}.quantizer.codebook_size': 64, f'{QUANTIZER}.quantizer.type': 'VectorQuantizer'}
    cfg = load_config('configs/mini/rq.py', {**inner, f'{QUANTIZER}.type': 'ResidualQuantizer'})
    assert cfg.model.tokenizer.quantizer.quantizer.codebook_size == 64


@pytest.mark.parametrize(
    ('key', 'offered'),
    [
        ('model.reconstruction_loss.zzzzzz', {'type'}),
        ('optim_wrapper.zzzzzz', {'type', 'constructor', 'paramwise_cfg', 'parts'}),
        ('default_hooks.checkpoint.zzzzzz', {'type', 'priority'}),
    ],
)
def test_hints_offer_keys_of_builders_where_they_mean_something(key: str, offered: set[str]) -> None:
    with pytest.raises(UserError, match=r'valid: ') as raised:
        load_config(FVQ, {key: 1})
    valid = set(str(raised.value).partition('valid: ')[2].split(', '))
    assert valid & {'type', 'priority', 'constructor', 'paramwise_cfg', 'parts'} == offered


def test_a_priority_means_nothing_to_a_loss_and_does_to_a_hook() -> None:
    with pytest.raises(UserError, match="has no 'priority'"):
        load_config(FVQ, {'model.reconstruction_loss.priority': 'LOW'})
    assert load_config(FVQ, {'default_hooks.checkpoint.priority': 'LOW'}).default_hooks.checkpoint.priority == 'LOW'
