"""`constraints.txt` pins all that set-up installs, in a form that every installer reads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINES = [line for line in (ROOT / 'constraints.txt').read_text().splitlines() if not line.startswith('#')]
LOCKED = {canonicalize_name(line.partition('==')[0]): line for line in LINES}


def requirements() -> list[Requirement]:
    """Of the packages with all their extras, and of the tools."""
    files = [path.read_text().splitlines() for path in ROOT.glob('requirements-*.txt')]
    written = [line for lines in files for line in lines if not line.startswith('#')]
    for path in ROOT.glob('packages/*/pyproject.toml'):
        document = tomllib.loads(path.read_text())
        project, hooks = document['project'], document['tool']['hatch'].get('metadata', {}).get('hooks', {})
        pinned = hooks.get('uv-dynamic-versioning', {}).get('dependencies', [])
        for extra in (project.get('dependencies', pinned), *project.get('optional-dependencies', {}).values()):
            written += [line.replace('{{ version }}', '1.0') for line in extra]
    return [Requirement(line) for line in written]


def test_every_line_is_a_name_and_an_exact_version():
    assert len(LINES) > 50
    wrong = [line for line in LINES if not re.fullmatch(r'[\w.-]+==[\w.!]+( ; [^#@]+)?', line)]
    assert wrong == [], 'no URL, no index, no path, no hash; renew it with make lock'


def test_every_requirement_is_locked_at_a_version_that_it_allows():
    wanted = [each for each in requirements() if each.name.split('-')[0] != 'fvq']
    assert [each.name for each in wanted if canonicalize_name(each.name) not in LOCKED] == [], 'run make lock'
    for each in wanted:
        version = re.split(r'==| ;', LOCKED[canonicalize_name(each.name)])[1].strip()
        assert each.specifier.contains(version), f'{each} is locked at {version}; run make lock'


def test_nothing_installs_a_second_mmengine_or_an_opencv_with_windows():
    assert not {'mmengine', 'opencv-python', 'opencv-contrib-python'} & LOCKED.keys()
    assert {'mmengine-lite', 'opencv-python-headless'} <= LOCKED.keys()


def test_packages_ask_for_each_other_at_their_own_version_which_is_written_nowhere():
    for path in ROOT.glob('packages/*/pyproject.toml'):
        text = path.read_text()
        document = tomllib.loads(text)
        assert 'version' in document['project']['dynamic']
        assert document['build-system']['requires'] == ['hatchling', 'uv-dynamic-versioning']
        hooks = document['tool']['hatch'].get('metadata', {}).get('hooks', {})
        for line in hooks.get('uv-dynamic-versioning', {}).get('dependencies', document['project'].get('dependencies')):
            assert not line.startswith('fvq') or line.endswith('=={{ version }}'), f'{path}: {line}'
        assert (path.parent / 'LICENSE').read_text() == (ROOT / 'LICENSE').read_text()
