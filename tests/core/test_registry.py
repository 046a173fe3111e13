"""Registries: what a config may say, what the owner adds, and how plug-ins fail."""

from __future__ import annotations

import pytest
from mmengine.hooks import ParamSchedulerHook
from torch import nn

from fvq_core.errors import UserError
from fvq_core.registry import Registry, build_component, describe, find_component, registry


class Shape:
    def __init__(self, width: int, height: int = 2) -> None:
        if width < 0:
            raise ValueError(f'width must be 0 or more, got {width}')
        self.width, self.height = width, height


class Block(nn.Module):
    def __init__(self, width: int, child: object = None) -> None:
        super().__init__()
        self.width = width
        self.child = SHAPES.build(child) if child else None


class Anything:
    def __init__(self, **arguments: object) -> None:
        self.arguments = arguments


SHAPES = Registry('test shape')
for component in (Shape, Block, Anything):
    SHAPES.register_module(module=component)


class EntryPoint:
    """A stand-in for `importlib.metadata.EntryPoint` whose `load` runs a function."""

    value = 'some_package.module'

    def __init__(self, name: str, load: object) -> None:
        self.name, self.load = name, load


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch):
    """Install one plug-in that runs a function when it is imported, and forget that plug-ins were loaded."""

    def install(load: object) -> None:
        monkeypatch.setattr(registry, '_plugins_loaded', False)
        monkeypatch.setattr(registry, '_broken_plugins', {})
        monkeypatch.setattr(registry, 'entry_points', lambda group: [EntryPoint('stranger', load)])

    registry.load_plugins()
    return install


def test_unknown_argument_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="Shape: unknown argument 'widht'; did you mean 'width'"):
        SHAPES.build(dict(type='Shape', width=1, widht=2))


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="test shape: 'Shap' is not registered; did you mean 'Shape'"):
        SHAPES.build(dict(type='Shap', width=1))


def test_name_far_from_all_lists_what_is_registered():
    with pytest.raises(UserError, match='valid: Anything, Block, Shape'):
        SHAPES.build(dict(type='Qzx'))


def test_config_without_type_is_refused():
    with pytest.raises(UserError, match="test shape: a config needs a 'type'"):
        SHAPES.build(dict(width=1))


def test_missing_argument_is_named():
    with pytest.raises(UserError, match=r'Shape: missing argument\(s\) width; add'):
        SHAPES.build(dict(type='Shape', height=1))


def test_value_error_of_a_constructor_becomes_a_user_error_that_names_it():
    with pytest.raises(UserError, match=r'^Shape: width must be 0 or more, got -1$') as caught:
        SHAPES.build(dict(type='Shape', width=-1))
    assert type(caught.value.__cause__) is ValueError


def test_type_error_of_a_constructor_names_the_argument_of_another_type():
    with pytest.raises(UserError, match=r"^Shape\.width: expected a whole number, got '3'\.$"):
        SHAPES.build(dict(type='Shape', width='3'))


def test_owners_default_fills_in_only_what_the_constructor_takes_and_the_config_leaves_out():
    built = SHAPES.build(dict(type='Shape', height=5), width=3, height=4, depth=9)
    assert (built.width, built.height) == (3, 5)
    assert SHAPES.build(dict(type='Anything', a=1), b=2).arguments == {'a': 1, 'b': 2}


def test_class_in_place_of_a_name_and_a_built_object_are_taken():
    built = SHAPES.build(dict(type=Shape, width=3))
    assert type(built) is Shape
    assert build_component(built, SHAPES) is built


def test_duplicate_name_fails():
    with pytest.raises(KeyError, match='Shape is already registered'):
        SHAPES.register_module(name='Shape', module=Anything)


def test_description_holds_names_and_follows_a_replaced_child():
    block = SHAPES.build(dict(type=Block, width=1, child=dict(type=Block, width=2)))
    assert describe(block) == {'type': 'Block', 'width': 1, 'child': {'type': 'Block', 'width': 2}}
    block.child = SHAPES.build(dict(type='Block', width=7))
    assert describe(block)['child'] == {'type': 'Block', 'width': 7}
    assert SHAPES.build(describe(block)).child.width == 7


def test_broken_plug_in_is_a_warning_and_named_only_if_a_wanted_name_is_missing(plug_in):
    def broken() -> None:
        raise ImportError('no module named sand')

    plug_in(broken)
    with pytest.warns(UserWarning, match=r"plug-in 'stranger' .*ImportError: no module named sand"):
        assert registry.load_plugins() == {'stranger': 'ImportError: no module named sand'}
    assert type(SHAPES.build(dict(type='Shape', width=1))) is Shape
    with pytest.raises(UserError, match=r"'Castle' is not registered.*plug-in 'stranger' failed to load \(ImportError"):
        SHAPES.build(dict(type='Castle'))


def test_plug_in_is_imported_once_and_its_components_are_found(plug_in):
    imported = []

    def load() -> None:
        imported.append(1)
        local.register_module(name='Late', module=Shape)

    local = Registry('test late')
    plug_in(load)
    assert local.build(dict(type='Late', width=4)).width == 4
    assert local.names() == ['Late']
    assert imported == [1]


def test_two_packages_with_one_name_fail_and_the_second_is_named(plug_in):
    plug_in(lambda: SHAPES.register_module(name='Shape', module=Anything))
    with pytest.raises(UserError, match=r"plug-in 'stranger' .*Shape is already registered.*rename"):
        registry.load_plugins()


def test_component_is_found_by_name_in_our_and_in_mmengines_registries():
    assert find_component('ParamSchedulerHook') is ParamSchedulerHook
    assert find_component('VectorQuantizer').__name__ == 'VectorQuantizer'
    assert find_component('NoSuchThing') is None
