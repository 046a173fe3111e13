"""A config as data: kept without loss, and built without following anything that it names."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from mmengine.config import Config

from fvq_core.config.data import build_data, config_data, config_text, from_data, read_config_data
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS, MODELS, QUANTIZERS, TOKENIZERS, find_component, names_only
from fvq_quantizers import VectorQuantizer

POPEN = dict(type='subprocess.Popen', args=['touch', 'pwned'])
BUILT = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)


@pytest.mark.parametrize(
    'path', ['configs/fvq/var_16k.py', 'configs/mini/vq.py', 'configs/generation/llamagen_photos.py']
)
def test_data_and_text_of_a_config_are_read_back_as_the_same_config(path: str, tmp_path: Path) -> None:
    cfg = load_config(path)
    data = config_data(cfg.to_dict())
    assert config_data(from_data(json.loads(json.dumps(data)))) == data
    (tmp_path / 'config.py').write_text(config_text(cfg.to_dict()))
    again = load_config(str(tmp_path / 'config.py'), work_dir=cfg.work_dir)
    assert config_data(again.to_dict()) == data


def test_values_that_json_does_not_have_are_kept(tmp_path: Path) -> None:
    values = dict(
        a=math.inf, b=[-math.inf, 1e300], c=(1, 2), d=PurePosixPath('x/y'), e=dict(type=VectorQuantizer), f=10**30
    )
    values |= {
        'g': {'for': math.nan, '0': None, 'not a name': True},
        'h': {},
        'i': 'it\'s "text"\n',
        'j': find_component,
    }
    data = json.loads(json.dumps(config_data(values), allow_nan=False))
    read = from_data(data)
    assert math.isnan(read['g'].pop('for'))
    expected = dict(a=math.inf, b=[-math.inf, 1e300], c=[1, 2], d='x/y', e=dict(type='VectorQuantizer'), f=10**30)
    assert read == {
        **expected,
        'g': {'0': None, 'not a name': True},
        'h': {},
        'i': values['i'],
        'j': 'fvq_core.registry.registry.find_component',
    }
    (tmp_path / 'config.py').write_text(config_text(values))
    written = Config.fromfile(tmp_path / 'config.py').to_dict()
    assert math.isnan(written['g'].pop('for'))
    assert written == {**read, 'e': {'type': 'fvq_quantizers.vector_quantizer.VectorQuantizer'}}


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (dict(model=dict(x=[1, {2, 3}])), r'^model\.x\.1: a set cannot be kept with a run'),
        (dict(model=dict(x=torch.zeros(1))), r'^model\.x: a Tensor cannot be kept'),
        (dict(model={1: 2}), r'^model: keys must be text, got 1'),
        (dict(model=dict(x=lambda: 1)), r'^model\.x: a function cannot be kept'),
        (dict(model=dict(x=type('Mine', (), {}))), r'^model\.x: a type cannot be kept'),
    ],
)
def test_what_cannot_be_kept_is_named_by_its_path(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_data(value)


def descriptions_with(hostile: Any) -> list[Any]:
    """A tokenizer's description with something else in place of each component, and in places that nobody builds."""
    encoder = dict(type='VQGANEncoder', ch=8, ch_mult=[1, 2], num_res_blocks=1, z_channels=8, norm_groups=4)
    axes = ('projector', 'normalize', 'distance', 'estimator', 'loss', 'update', 'regularizer', 'init')
    tokenizer = dict(type='Tokenizer', encoder=encoder, decoder={**encoder, 'type': 'VQGANDecoder'}, quantizer=BUILT)
    nested = dict(type='ResidualQuantizer', depth=2, quantizer={**BUILT, 'update': hostile})
    return [
        hostile,
        *({**tokenizer, part: hostile} for part in ('encoder', 'decoder', 'quantizer', 'quant_kernel')),
        *({**tokenizer, 'quantizer': {**BUILT, axis: hostile}} for axis in axes),
        {**tokenizer, 'quantizer': nested},
        {**tokenizer, 'encoder': {**encoder, 'ch_mult': [1, [hostile]]}},
    ]


@pytest.mark.parametrize(
    'hostile',
    [
        POPEN,
        dict(type='os.system', command='touch pwned'),
        dict(type='fvq.subprocess.Popen', args=['touch', 'pwned']),
        dict(type='builtins.eval'),
        dict(type='subprocess'),
        dict(type='fvq_quantizers.VectorQuantizer', codebook_size=16, code_dim=8),
        dict(BUILT, _scope_='mmengine'),
        dict(BUILT, custom_imports=dict(imports=['this'])),
        dict(BUILT, _base_='evil.py'),
        dict(BUILT, load_from='evil.pth'),
        dict(type='Runner'),
        dict(type='ImageFolder', root='/'),
        dict(type=['subprocess.Popen']),
        dict(type=None),
        'subprocess.Popen',
    ],
    ids=str,
)
def test_data_builds_registered_names_of_the_expected_kind_and_nothing_else(
    hostile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, description in enumerate(descriptions_with(hostile)):
        with pytest.raises(UserError, match=r'^some\.file') as caught:
            build_data(TOKENIZERS.build, description, 'some.file')
        assert '\n' not in str(caught.value), number
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('registry', [QUANTIZERS, TOKENIZERS, GENERATORS, MODELS], ids=lambda registry: registry.name)
def test_import_paths_are_followed_in_configs_and_not_inside_names_only(registry: Any) -> None:
    assert registry.resolve('collections.OrderedDict').__name__ == 'OrderedDict'
    assert find_component('collections.OrderedDict').__name__ == 'OrderedDict'
    with names_only():
        with pytest.raises(
            UserError, match=r"'collections\.OrderedDict' is an import path, which is not followed here"
        ):
            registry.resolve('collections.OrderedDict')
        assert find_component('collections.OrderedDict') is None
    assert registry.resolve('collections.OrderedDict').__name__ == 'OrderedDict'


@pytest.mark.parametrize(
    'data',
    [
        *(
            dict(model={}, custom_imports=dict(imports=['antigravity'])),
            dict(load_from='evil.pth'),
            dict(a=[dict(_base_='b')]),
        ),
        *({'model': {1: 2}}, {'model': torch.zeros(1)}, {'a': {'float': 'x'}}, [], None, 'x = 1'),
    ],
)
def test_what_is_not_the_data_of_a_config_is_refused_in_a_line(data: Any) -> None:
    with pytest.raises(UserError, match=r'^some\.file'):
        read_config_data(data, 'some.file', 'train it again')
    deep: Any = {}
    for _ in range(100_000):
        deep = {'x': deep}
    with pytest.raises(UserError, match=r'some\.file: its config is nested more than 64 deep'):
        read_config_data(deep, 'some.file', 'train it again')


def test_what_a_config_imports_and_starts_from_stays_in_its_text_and_is_a_fact_in_its_data() -> None:
    model = dict(type='X', inner=[dict(type='Y', _scope_='mmengine')])
    config = dict(custom_imports=dict(imports=['json']), load_from='first/iter_9.pth', model=model)
    kept = dict(type='X', inner=[dict(type='Y')])
    assert config_data(config) == dict(model=kept, started_from='first/iter_9.pth')
    assert "load_from = 'first/iter_9.pth'" in config_text(config)
    assert 'custom_imports' in config_text(config)
