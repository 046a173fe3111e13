"""`--help` of every command teaches: examples, what each option does, and its default."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from fvq.commands import track
from fvq.commands.convert import peers
from fvq_core.commands import ENTRY_POINT_GROUP
from fvq_core.commands.command import Parser
from fvq_core.registry import IMPORTERS

TOOLS = Path(__file__).parents[2] / 'tools'
COMMANDS = sorted(path.stem for path in TOOLS.glob('*.py'))


class Found(Exception):  # noqa: N818
    """Ends a command once its parser is complete."""


def parser_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Parser:
    """The parser of `tools/NAME.py`."""
    found: list[Parser] = []

    def stop(parser: Parser, *arguments: object) -> None:
        found.append(parser)
        raise Found

    monkeypatch.setattr(Parser, 'parse_args', stop)
    module: dict[str, object] = {}
    exec(compile((TOOLS / f'{name}.py').read_text(), name, 'exec'), module)
    with pytest.raises(Found):
        module['main']([])  # type: ignore[operator]
    return found[0]


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Of a parser and of its sub-commands."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [option for each in action.choices.values() for option in options(each)]
        elif not isinstance(action, argparse._HelpAction):
            found.append(action)
    return found


@pytest.mark.parametrize('name', COMMANDS)
def test_every_option_has_a_help_that_names_its_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = parser_of(name, monkeypatch)
    assert f'tools/{name}.py' in (parser.epilog or ''), 'an example'
    assert (parser.description or '').strip().endswith('.')
    for action in options(parser):
        text = action.help or ''
        assert text, f'{action.option_strings or action.dest}: no help'
        if action.option_strings and action.default not in (None, False, [], {}, ()):
            assert 'default' in text, f'{action.option_strings[0]}: name the default, {action.default}, in its help'


def test_every_tool_is_a_command_of_a_package_and_no_two_share_a_name() -> None:
    names = [point.name for point in entry_points(group=ENTRY_POINT_GROUP)]
    assert len(set(names)) == len(names)


def test_help_of_track_is_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, 'argv', ['fvq', 'track', '--help'])
    with pytest.raises(SystemExit):
        track.main(['--help'])
    shown = capsys.readouterr().out
    assert shown.startswith('usage: fvq track ')
    assert 'log to experiment trackers' in shown
    assert 'fvq train configs/' not in shown


@pytest.mark.processes
def test_no_help_imports_torch_which_takes_seconds() -> None:
    code = (
        'import sys\nfrom contextlib import suppress\nfrom fvq_core.commands import run_command\n'
        f'for name in {COMMANDS}:\n    with suppress(SystemExit):\n        run_command(name, ["--help"])\n'
        '    if "torch" in sys.modules:\n        sys.exit(f"{name} --help imports torch")'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('\nexample:\n') == len(COMMANDS)


def test_help_of_convert_names_every_importer() -> None:
    assert peers() == [name for name in IMPORTERS.names() if IMPORTERS.registered(name).__module__.startswith('fvq_')]
