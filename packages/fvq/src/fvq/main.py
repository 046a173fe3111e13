"""`fvq COMMAND ...`: the list of commands, the version, completion in a shell, and the way from a name to its command.

Nothing here imports torch, or the command that is only listed.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from fvq_core import __version__
from fvq_core.commands import ENTRY_POINT_GROUP, run_command

USAGE = """\
usage: fvq COMMAND ...          fvq COMMAND --help has examples, defaults and units
       fvq --version

Train, compare and ship discrete image tokenizers, and the generators that run on their codes.
"""
GROUPS = {
    'first steps': ('doctor', 'zoo', 'demo'),
    'train': ('check_data', 'train', 'track', 'smoke', 'make_codebook'),
    'use and share a tokenizer': ('reconstruct', 'export', 'convert', 'push'),
    'generate': ('extract_codes', 'extract_captions', 'extract_representations', 'sample'),
    'measure and compare': ('test', 'evaluate', 'zoo_table', 'benchmark', 'probe', 'analyze', 'report'),
}
OTHERS = 'more'


def main() -> int:
    """Run `fvq COMMAND ARGUMENTS`; returns the exit code."""
    if '_ARGCOMPLETE' in os.environ:
        return complete()
    name = next(iter(sys.argv[1:]), None)
    if name in (None, '-h', '--help'):
        print('\n'.join([USAGE, *listed_commands()]), file=sys.stderr if name is None else sys.stdout)
        return 2 if name is None else 0
    if name == '--version':
        print(f'fvq {__version__}')
        return 0
    return run_command(name, sys.argv[2:])


def listed_commands() -> Iterator[str]:
    """The lines of `fvq --help`: every installed command with a sentence, by group; a plug-in's stand in the last one."""
    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    groups = {title: [name for name in names if name in points] for title, names in GROUPS.items()}
    groups[OTHERS] = sorted(points.keys() - {name for names in groups.values() for name in names})
    width = max(map(len, points), default=0) + 4
    columns = min(shutil.get_terminal_size().columns, 120)
    for title, names in groups.items():
        if names:
            yield f'{title}:'
        for name in names:
            indents = dict(initial_indent=f'  {name}'.ljust(width), subsequent_indent=' ' * width)
            yield textwrap.fill(summary(points[name]), columns, **indents)


def summary(point: EntryPoint) -> str:
    """The first line of a command's module, read from its source; '' if there is none to read."""
    package, *parts = point.module.split('.')
    found = find_spec(package)  # of the top level only, because that of a part imports what stands above it
    for folder in (found.submodule_search_locations or ()) if found else ():
        base = Path(folder, *parts)
        for file in (base.with_suffix('.py'), base / '__init__.py'):
            if file.is_file():
                text = ast.get_docstring(ast.parse(file.read_bytes())) or ''
                return ' '.join(text.split('\n\n')[0].split())
    return ''


def complete() -> int:
    """Answer a shell that asks what could stand at the cursor: names of commands, then what that command takes."""
    from argparse import ArgumentParser

    import argcomplete

    before = argcomplete.split_line(os.environ['COMP_LINE'], int(os.environ['COMP_POINT']))[3]
    names = entry_points(group=ENTRY_POINT_GROUP).names
    if len(before) > 1 and before[1] in names:
        os.environ['_ARGCOMPLETE'] = '2'  # that parser sees the words from the command's name on
        return run_command(before[1], before[2:])
    parser = ArgumentParser(prog='fvq')
    parser.add_argument('--version', action='store_true')
    parser.add_argument('command', choices=sorted(names))
    argcomplete.autocomplete(parser)
    return 0
