"""The tutorials: each block is run, in the order of the page, in an empty folder beside a clone's tools and configs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fvq_core.commands.command import Parser

from ..cli.helpers import REPO, tool
from . import tutorial

PAGES = sorted((tutorial.DOCS / 'tutorials').glob('*.md'))
MODE = os.environ.get('FVQ_DOCS', '')
NEEDS_MODE = 'set FVQ_DOCS to rehearse (some minutes) or full (an hour), as make test-extras does'
by_name = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)


@by_name
def test_every_command_is_one_with_these_options(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without running any: a config must exist, and the command must know each option."""

    def stop_after_parsing(parser: Parser, arguments: Sequence[str] | None = None, namespace: Any = None) -> NoReturn:
        parse(parser, arguments, namespace)
        raise SystemExit(0)

    parse = Parser.parse_args
    monkeypatch.setattr(Parser, 'parse_args', stop_after_parsing)
    written = {block.title for block in tutorial.blocks(page)}
    found = tutorial.commands(page)
    assert found
    for program, *arguments in found:
        done = tool(Path(program).stem, *arguments, cwd=tmp_path)
        assert done.returncode == 0, f'{program} {arguments}: {done.stderr}'
        configs = [word for word in arguments if word.endswith('.py')]
        assert [name for name in configs if name not in written and not (REPO / name).is_file()] == []


@by_name
def test_its_python_compiles_and_its_rehearsal_sets_what_the_page_reads(page: Path) -> None:
    for block in tutorial.blocks(page):
        if block.language == 'python':
            compile(block.text, str(page), 'exec')
    for name in tutorial.rehearsal_settings(page):
        assert f'{name}=${{{name}:-' in tutorial.script(page), f'{page.name} does not read {name}'


@pytest.mark.processes
@pytest.mark.skipif(MODE not in ('rehearse', 'full'), reason=NEEDS_MODE)
@by_name
def test_a_tutorial_runs(page: Path, tmp_path: Path) -> None:
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(REPO / name)
    settings = tutorial.rehearsal_settings(page) if MODE == 'rehearse' else {}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    done = subprocess.run(
        ['bash', '-c', tutorial.script(page)],
        cwd=tmp_path,
        env={**os.environ, **settings, 'PATH': path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f'{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
