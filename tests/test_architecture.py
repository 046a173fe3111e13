"""The picture of the architecture shows every room of every package, and nothing that is not there."""

from __future__ import annotations

import runpy
from pathlib import Path

REPO = Path(__file__).parents[1]
DRAWING = runpy.run_path(str(REPO / 'docs/draw_architecture.py'))


def test_the_picture_has_every_room_and_contract() -> None:
    for package, rooms in DRAWING['ROOMS'].items():
        root = REPO / 'packages' / package / 'src' / package.replace('-', '_')
        drawn = {name.strip() for names in rooms for name in names.split(',')}
        assert drawn == {path.parent.name for path in root.glob('*/__init__.py')}, package
    for contract in DRAWING['CONTRACTS'].split():
        assert (REPO / 'packages/fvq-core/src/fvq_core' / f'{contract}.py').is_file(), contract


def test_the_picture_is_that_of_the_script() -> None:
    assert DRAWING['PICTURE'].read_text() == DRAWING['draw'](), 'run docs/draw_architecture.py'
