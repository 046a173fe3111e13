"""Settings of sampling: declared once, checked everywhere, and options of a command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import pytest

from fvq_core.errors import UserError
from fvq_core.sampling_settings import RESERVED, SamplingSettings, setting
from fvq_generators.commands.sample import sample_parser
from fvq_generators.commands.setting_options import add_settings


@dataclass(frozen=True)
class Noise(SamplingSettings):
    scale: float = setting(1.0, 'how strong, in % of the signal', least=0.5, also=(0,), flag='--noise')
    kind: str = setting('gumbel', 'of what distribution', choices=('gumbel', 'normal'))


@dataclass(frozen=True)
class Masked(Noise):
    steps: int = setting(8, 'passes', least=1, most=64)
    share: float = setting(0.5, 'of the codes', above=0, most=1)
    fixed: bool = setting(False, 'the same noise for every image')


GOOD = [
    dict(scale=0),
    dict(scale=0.5),
    dict(scale=3),
    dict(kind='normal'),
    dict(steps=1),
    dict(steps=64),
    dict(share=1),
]


@pytest.mark.parametrize('given', [*GOOD, dict(fixed=True)])
def test_values_in_range_are_taken_as_they_are(given: dict[str, Any]):
    assert Masked.of(given).to_dict() == {**Masked().to_dict(), **given}
    Masked.check(given, 'config.json')


BAD = [
    (dict(scale=0.1), 'scale', '0, or a finite number from 0.5'),
    (dict(scale=float('inf')), 'scale', '0, or a finite number from 0.5'),
    (dict(scale=10**400), 'scale', '0, or a finite number from 0.5'),
    (dict(scale=True), 'scale', '0, or a finite number from 0.5'),
    (dict(scale='1'), 'scale', '0, or a finite number from 0.5'),
    (dict(kind='uniform'), 'kind', 'one of gumbel, normal'),
    (dict(steps=0), 'steps', 'a whole number from 1 and up to 64'),
    (dict(steps=2.0), 'steps', 'a whole number from 1 and up to 64'),
    (dict(share=0.0), 'share', 'a finite number above 0 and up to 1'),
    (dict(share=float('nan')), 'share', 'a finite number above 0 and up to 1'),
    (dict(fixed=1), 'fixed', 'true or false'),
]


@pytest.mark.parametrize(('given', 'name', 'expected'), BAD)
def test_other_values_are_refused_with_what_is_expected(given: dict[str, Any], name: str, expected: str):
    with pytest.raises(UserError, match=f'sampling: {name} must be {expected}, got '):
        Masked(**given)
    with pytest.raises(UserError, match=f"config.json: 'sampling.{name}' is .*, expected {expected}"):
        Masked.check(given, 'config.json')


def test_a_name_that_there_is_not_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Masked has no setting 'step'; did you mean 'steps'"):
        Masked.of(dict(step=1))
    with pytest.raises(
        UserError, match=r"config\.json: 'sampling' has an unknown setting 'step'; did you mean 'steps'"
    ):
        Masked.check(dict(step=1), 'config.json')


def test_a_part_has_the_settings_that_its_class_declares():
    assert Masked(scale=2.0, steps=3).part(Noise) == Noise(scale=2.0)


def test_settings_become_options_in_groups_of_the_generators_that_have_them():
    parser = argparse.ArgumentParser()
    add_settings(parser, {'Plain': Noise, 'MaskGIT': Masked})
    groups = {group.title: [action.dest for action in group._group_actions] for group in parser._action_groups[2:]}
    assert groups == {
        'settings of Plain and MaskGIT': ['scale', 'kind'],
        'settings of MaskGIT': ['steps', 'share', 'fixed'],
    }
    assert '(0, or a finite number from 0.5; default 1.0)' in ' '.join(parser.format_help().split())
    assert vars(parser.parse_args([])) == dict.fromkeys(['scale', 'kind', 'steps', 'share', 'fixed'])
    given = vars(parser.parse_args(['--noise', '2', '--kind', 'normal', '--steps', '4', '--fixed']))
    assert given == dict(scale=2.0, kind='normal', steps=4, share=None, fixed=True)


@dataclass(frozen=True)
class WholeNoise(SamplingSettings):
    """The option of `Noise.scale` with another type, range and default."""

    scale: int = setting(1, 'of the noise', least=0, flag='--noise')


def test_the_help_of_an_option_that_generators_share_says_what_each_means():
    parser = argparse.ArgumentParser()
    add_settings(parser, {'Plain': Noise, 'Whole': WholeNoise})
    shown = ' '.join(parser.format_help().split())
    assert 'Plain: how strong, in % of the signal (0, or a finite number from 0.5; default 1.0); ' in shown
    assert 'Whole: of the noise (a whole number from 0; default 1)' in shown
    assert parser.parse_args(['--noise', '2']).scale == '2'
    parser = argparse.ArgumentParser()
    add_settings(parser, {'Whole': WholeNoise})
    assert parser.parse_args(['--noise', '2']).scale == 2


@pytest.mark.parametrize('name', ['seed', 'seeds', 'batch_size', 'generator'])
def test_a_setting_named_like_an_option_of_the_command_is_refused_where_it_is_declared(name: str):
    body = {'__annotations__': {name: int}, name: setting(0, 'of the noise')}
    with pytest.raises(UserError, match=f"'{name}' is an option or argument of sampling itself; rename the setting"):
        type('Seeded', (SamplingSettings,), body)
    with pytest.raises(UserError, match="'other' is an option or argument of sampling itself"):
        type(
            'Seeded', (SamplingSettings,), {'__annotations__': {'other': int}, 'other': setting(0, 'x', flag='--seed')}
        )


def test_every_option_of_the_command_is_reserved():
    assert {action.dest for action in sample_parser()._actions} <= RESERVED


def test_a_field_without_setting_is_refused_where_it_is_declared():
    with pytest.raises(UserError, match=r"Plain: declare 'scale' with setting\(default, help\)"):

        class Plain(SamplingSettings):
            scale: float = 1.0
