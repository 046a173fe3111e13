"""The notebooks are stored without outputs, and run from start to end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..cli.helpers import REPO
from .test_tutorials import MODE, NEEDS_MODE
from .tutorial import DOCS

NOTEBOOKS = sorted((DOCS / 'notebooks').glob('*.ipynb'))
REHEARSAL = {'TOKENIZER_STEPS': '20', 'STEPS': '20', 'CROPS': '4'}  # what their first cells name
by_name = pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)


@by_name
def test_it_has_no_outputs_and_its_cells_compile(notebook: Path) -> None:
    code = [cell for cell in json.loads(notebook.read_text())['cells'] if cell['cell_type'] == 'code']
    assert [cell['outputs'] for cell in code if cell['outputs'] or cell['execution_count']] == []
    for cell in code:
        compile(''.join(cell['source']), notebook.name, 'exec')


@pytest.mark.processes
@pytest.mark.skipif(MODE not in ('rehearse', 'full'), reason=NEEDS_MODE)
@by_name
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    pytest.importorskip('nbclient')
    (tmp_path / 'configs').symlink_to(REPO / 'configs')
    shutil.copy(notebook, tmp_path)
    settings = REHEARSAL if MODE == 'rehearse' else {}
    command = [str(Path(sys.executable).with_name('jupyter-execute')), '--timeout=3600', '--inplace', notebook.name]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    cells = json.loads((tmp_path / notebook.name).read_text())['cells']
    pictures = [out for cell in cells for out in cell.get('outputs', ()) if 'image/png' in out.get('data', {})]
    assert len(pictures) >= 3
