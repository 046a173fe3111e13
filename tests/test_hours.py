"""Hours and batches are computed from recorded steps on a GPU, and from nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import hours
from fvq_core.files.json import write_json

pytestmark = pytest.mark.fast


def record(folder: Path, name: str, sections: dict[str, Any]) -> None:
    write_json(folder / f'{name}.json', {'card': name, 'sections': sections})


def step(images_per_second: float, peak_gib: float | None) -> dict[str, Any]:
    before = dict(images_per_second=1e6, peak_gib=0.1)  # without the discriminator: 5 % of a run
    after = dict(images_per_second=images_per_second, peak_gib=peak_gib)
    return {'output': {'batch': 64, 'ways': {'ours': {'before the discriminator starts': before, 'after': after}}}}


def test_hours_and_batches_of_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate = hours.IMAGES * 40 / 3600 / 80  # 80 hours on one card
    record(tmp_path, 'made-up', {'train-step': step(rate, hours.STATE_GIB + 64 * 0.5), 'search': {'output': {}}})
    (found,) = [hours.computed(each) for each in hours.measured(tmp_path)]
    assert found['hours'] == {n: pytest.approx([80 / n, 240 / n]) for n in (1, 8, 16)}
    # Half a GiB an image beside the state, in nine tenths of the card.
    assert found['fits'] == {40: 69, 80: 141}
    hours.main(['--records', str(tmp_path)])
    assert '| made-up, ours |' in (out := capsys.readouterr().out)
    assert '| 80.0 / 240.0 | 10.0 / 30.0 | 5.0 / 15.0 | 69 | 141 |' in out


@pytest.mark.parametrize('section', [{'verdict': 'killed'}, step(3.0, None)], ids=['killed', 'rehearsed on a CPU'])
def test_without_a_measured_step_it_says_so(
    section: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, 'made-up', {'train-step': section})
    hours.main(['--records', str(tmp_path)])
    assert capsys.readouterr().out == 'not yet measured: run make gpu-check, then benchmarks/hours.py\n'
