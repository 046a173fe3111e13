"""What keeps the packages easy to walk through: small files, and a core that stays small."""

from __future__ import annotations

import ast
from pathlib import Path

from fvq_core.registry import all_registries

PACKAGES = Path(__file__).parents[1] / 'packages'
CORE = PACKAGES / 'fvq-core/src/fvq_core'
LINES_OF_A_FILE = 300
LINES_OF_CORE = 10_000  # outside the rooms that grow with every system
GROWING = ('autoencoders', 'losses', 'ops')
ROOMS_OF_CORE = 11


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_file_is_long():
    long = {
        str(path.relative_to(PACKAGES)): lines(path) for path in PACKAGES.rglob('*.py') if lines(path) > LINES_OF_A_FILE
    }
    assert long == {}, f'split what has more than {LINES_OF_A_FILE} lines'


def test_core_stays_small():
    kept = [path for path in CORE.rglob('*.py') if path.relative_to(CORE).parts[0] not in GROWING]
    assert sum(map(lines, kept)) <= LINES_OF_CORE, 'what only generators or studies need belongs to their packages'


def test_core_has_few_rooms():
    rooms = sorted(path.parent.name for path in CORE.glob('*/__init__.py'))
    assert len(rooms) <= ROOMS_OF_CORE, rooms


def test_core_spells_no_class_of_a_package_above_it():
    components = [registry.registered(name) for registry in all_registries() for name in registry.names()]
    theirs = {kind.__name__ for kind in components if not kind.__module__.startswith('fvq_core.')}
    assert {'VectorQuantizer', 'LlamaGen', 'PSNR'} <= theirs
    for path in CORE.rglob('*.py'):
        strings = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not strings & theirs, f'{path.relative_to(CORE)}: core meets the other packages in its registries only'
