"""The site: every page is in its menu, links are right on a clone and on the site, and made pages say what the code says."""

from __future__ import annotations

import json
import re
import runpy
from functools import cache
from pathlib import Path

import pytest
import yaml

import fvq.components  # noqa: F401 - registered by its entry point once the package is installed anew
from fvq_core.config.data import config_data
from fvq_core.config.read import load_config
from fvq_core.registry import all_registries
from fvq_eval.paper.tables import paper_table_rows

REPO = Path(__file__).parents[2]
DOCS = REPO / 'docs'
HOOK = runpy.run_path(str(DOCS / 'build_pages.py'))
MENU = (REPO / 'mkdocs.yml').read_text().split('\nnav:\n')[1]


@cache
def without_runs() -> dict[str, str]:
    return HOOK['table_pages'](Path('no_work_dirs'))


def test_every_page_is_in_the_menu_once() -> None:
    listed = re.findall(r'[\w/]+\.md', MENU)
    assert len(listed) == len(set(listed))
    made = HOOK['ROOT_PAGES'].keys() | without_runs().keys() | HOOK['reference_pages']('').keys()
    made |= {f'reference/{name}.md' for name, _ in HOOK['REFERENCE'].values()}
    made |= {f'notebooks/{path.stem}.md' for path in DOCS.glob('notebooks/*.ipynb')}
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob('*.md')}
    assert set(listed) == made | written
    assert [list(section) for section in yaml.safe_load(f'nav:\n{MENU}')['nav']] == [
        ['Start here'],
        ['Guides'],
        ['Tables'],
        ['Reference'],
        ['Contributing'],
    ]


@pytest.mark.parametrize(
    ('page', 'written', 'with_address', 'without'),
    [
        ('architecture.md', '[C](../CONTRIBUTING.md)', '[C](contributing.md)', '[C](contributing.md)'),
        ('contributing.md', '[e](docs/extending.md#a-command)', '[e](extending.md#a-command)', '[e](extending.md#a-command)'),
        ('analysis.md', '[first_run.md](first_run.md)', '[first run](first_run.md)', '[first run](first_run.md)'),
        ('tables/index.md', '[b](../benchmark.md)', '[b](../benchmark.md)', '[b](../benchmark.md)'),
        ('paper_notes.md', '[r](../configs/fvq/rq_16k.py)', '[r](https://x.org/fvq/blob/main/configs/fvq/rq_16k.py)', 'r'),
        ('exports.md', '[l](load_exports.py)', '[l](load_exports.py)', '[l](load_exports.py)'),
        ('gpu.md', '[i](https://x.org/issues/6)', '[i](https://x.org/issues/6)', '[i](https://x.org/issues/6)'),
        ('api.md', 'f[0](no_file)', 'f[0](no_file)', 'f[0](no_file)'),
    ],
)  # fmt: skip
def test_a_link_that_works_on_a_clone_works_on_the_site(
    page: str, written: str, with_address: str, without: str
) -> None:
    assert HOOK['site_links'](written, page, 'https://x.org/fvq/') == with_address
    assert HOOK['site_links'](written, page, '') == without


def test_each_row_of_the_paper_is_on_the_page_of_its_table_as_printed() -> None:
    pages = without_runs()
    for row in paper_table_rows().values():
        line = next(line for line in pages[f'tables/t{row.table}.md'].splitlines() if line.startswith(f'| {row.id} |'))
        cells = [cell.strip() for cell in line.split('|')]
        assert set(row.printed.values()) <= set(cells)
        assert cells[-2] == 'not yet'
    assert '`fvq/fvq_262k`' in pages['tables/t5.md']
    assert '    tools/train.py configs/fvq/fvq_262k.py' in pages['tables/t5.md']


def test_a_finished_run_stands_beside_its_rows_and_one_with_overrides_does_not(tmp_path: Path) -> None:
    config = 'configs/fvq/fvq_262k.py'
    for name, options, value in (('mine', {}, 23.25), ('other', {'train_cfg.max_epochs': 1}, 11.5)):
        number = {'value': value, 'unit': 'dB', 'protocol': 'rounded', 'samples': 50_000, 'preset': 'strict'}
        resolved = config_data(load_config(config, options).to_dict())
        document = {'metrics': {'strict/psnr': number}, 'config': config, 'resolved_config': resolved, 'versions': {}}
        (tmp_path / name).mkdir()
        (tmp_path / name / 'metrics.json').write_text(json.dumps({**document, 'seed': 0}))
    pages = HOOK['table_pages'](tmp_path)
    lines = [line for page in pages.values() for line in page.splitlines() if 'PSNR 23.25 (50000 images' in line]
    assert {line.split('|')[1].strip() for line in lines if line.startswith('| ')} == {
        't3.11',
        't5.8',
        't7.4',
        't8.18',
    }
    assert not any('11.5' in page for name, page in pages.items() if name == 'tables/t5.md')


def test_the_page_of_components_has_every_registered_name() -> None:
    registered = {name for registry in all_registries() for name in registry.names()}
    ours = {
        name
        for registry in all_registries()
        for name in registry.names()
        if registry.registered(name).__module__.startswith('fvq')
    }
    listed = {name for _, names, _, _ in HOOK['registered']() for name in names.split(', ')}
    assert ours <= listed
    assert listed - registered <= {'BERT', 'UViT', 'ModulatedTransformer'}, 'networks are in a registry of their own'


def test_every_public_name_has_an_entry_in_the_reference() -> None:
    api = (DOCS / 'api.md').read_text()
    pages = '\n'.join(text for name, text in HOOK['reference_pages'](api).items() if 'components' not in name)
    promised = [(module, name) for module, names in HOOK['imports'](api) for name in names]
    assert len(promised) > 60
    missing = [name for module, name in promised if not name.isupper() and f'::: {module}.{name}\n' not in pages]
    assert missing == []


def test_a_notebook_becomes_a_page_without_its_outputs(tmp_path: Path) -> None:
    cells = [
        {'cell_type': 'markdown', 'source': ['# Title\n', 'words']},
        {'cell_type': 'code', 'source': ['print(1)'], 'outputs': [{'text': 'SECRET'}]},
    ]
    (tmp_path / 'a.ipynb').write_text(json.dumps({'cells': cells}))
    assert HOOK['notebook_page'](tmp_path / 'a.ipynb') == '# Title\nwords\n\n```python\nprint(1)\n```\n'


def test_the_readme_is_short_and_leads_to_every_guide_that_a_user_needs() -> None:
    text = (REPO / 'README.md').read_text()
    assert len(text.splitlines()) <= 120
    assert text.count('![') == 2
    tutorials = {path.stem for path in (DOCS / 'tutorials').glob('*.md')}
    assert {name for name in tutorials if f'docs/tutorials/{name}.md' not in text} == set()
