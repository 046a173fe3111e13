"""What `tools/zoo.py` says of the models beside the paper's numbers, which tests/test_paper_rows.py checks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fvq_core.registry import IMPORTERS
from fvq_core.zoo import create_model, list_models
from fvq_eval.commands.zoo import main
from fvq_eval.commands.zoo_entries import model_sizes
from fvq_eval.paper.releases import releases


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main([*arguments, '--json', '--work-dirs', 'none']) == 0
    return json.loads(capsys.readouterr().out)


def test_released_weights_are_of_configs_that_exist_and_of_files_that_convert_reads() -> None:
    found = releases()
    assert found.keys() <= set(list_models())
    assert {release.peer for release in found.values()} <= set(IMPORTERS.names())
    assert str(found['baselines/rqvae_50e']) == 'kakaobrain/rq-vae-transformer, weights CC-BY-NC-SA-4.0'


def test_as_json_and_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = listed(capsys, 't3.6')
    assert (row['name'], row['kind']) == ('configs/fvq/fvq_16k.py', 'tokenizer')
    assert (row['paper']['rfid_in1k'], row['paper']['usage'], row['runs']) == (1.3, 100, [])
    generators = listed(capsys, 'generation', '--kind', 'generator', '--released')
    assert {'configs/generation/var_d16.py', 'configs/generation/rar_b.py'} <= {each['name'] for each in generators}
    assert all(each['release']['repository'] for each in generators)
    assert listed(capsys, 'generation', '--measured') == []


def test_sizes_are_those_of_the_model_that_is_built() -> None:
    model = create_model('fvq_photos')
    sizes = model_sizes('configs/fvq/fvq_photos.py')
    assert sizes['parameters'] == sum(parameter.numel() for parameter in model.parameters())
    assert sizes['folded_parameters'] == sum(parameter.numel() for parameter in model.eval().fold().parameters())
    assert sizes['folded_parameters'] < sizes['parameters']
    assert '64' in sizes['codes']  # 256 pixels by 4


def test_a_generator_without_its_tokenizer_says_why_its_size_is_not_known() -> None:
    assert "work_dirs/var_4k/tokenizer' is not registered" in model_sizes('configs/generation/var_d16.py')['sizes']
