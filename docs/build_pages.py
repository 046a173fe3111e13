"""MkDocs hook: pages that are made of the repository when the site is built, and links that lead out of `docs/`.

- `tables/*.md`: the paper's tables, each row with its config, its commands and your finished runs (below `work_dirs`, or
  the folder in FVQ_WORK_DIRS), from what `fvq list` knows.
- `reference/*.md`: the public names of `api.md` with their docstrings, and every registered component.
- `notebooks/*.md`: the notebooks as pages; `contributing.md`, `changelog.md`: the files of the repository's root.
"""

from __future__ import annotations

import ast
import json
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from fvq_core.config.find import config_names
from fvq_core.config.read import read_config_file
from fvq_core.files.markdown import markdown_table
from fvq_eval.commands.zoo import measured
from fvq_eval.commands.zoo_entries import finished_runs
from fvq_eval.paper.tables import PaperRow, paper_table_rows

REPO = Path(__file__).parents[1]
ROOT_PAGES = {'contributing.md': 'CONTRIBUTING.md', 'changelog.md': 'CHANGELOG.md'}
LINK = re.compile(r'(?<!!)\[([^\]\n]*)\]\(([^)#\s]+)(#[^)\s]*)?\)')
SCRIPTS = ('build_pages.py', 'check_links.py', 'draw_architecture.py')  # mkdocs.yml leaves them out
OVERVIEW = '<!-- the tables -->'
TABLES = {
    '1': 'tokenizers with the same encoder and decoder',
    '3': 'codebook size, channels and training length',
    '4': 'several codes a position',
    '5': 'projectors, with and without annealing',
    '7': 'pixels and features',
    '8': 'all tokenizers',
    '9': 'warm-up and decay',
    '11': 'class-conditional generators',
}
REFERENCE = {
    'Use a model': ('use', 'Use a model'),
    'Write a component': ('write', 'Contracts of components'),
    'Train and evaluate from Python': ('train', 'Train and evaluate from Python'),
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are no files of `docs/`."""
    pages = {page: (REPO / source).read_text() for page, source in ROOT_PAGES.items()}
    pages |= table_pages(Path(os.environ.get('FVQ_WORK_DIRS', 'work_dirs')))
    pages |= reference_pages((REPO / 'docs/api.md').read_text())
    pages |= {f'notebooks/{path.stem}.md': notebook_page(path) for path in (REPO / 'docs/notebooks').glob('*.ipynb')}
    for page, text in pages.items():
        if written := files.get_file_from_path(page):
            files.remove(written)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, **_: Any) -> str:
    """Links between files of the repository become links of the site, or to the repository if it has an address."""
    return site_links(markdown, page.file.src_uri, config['repo_url'] or '')


def site_links(markdown: str, page: str, repo_url: str) -> str:
    """A page with its relative links replaced; what is no link to a file of the repository stays as it is."""
    source = ROOT_PAGES.get(page, f'docs/{page}')
    of_root = {file: name for name, file in ROOT_PAGES.items()} | {'README.md': 'index.md'}

    def replaced(match: re.Match[str]) -> str:
        label, target, anchor = match.group(1), match.group(2), match.group(3) or ''
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if target.startswith('/') or ':' in target or not (REPO / path).exists():
            return match.group()
        name = of_root.get(path, path.removeprefix('docs/').replace('.ipynb', '.md'))
        if name.endswith('.md') and (path in of_root or path.startswith('docs/')):
            label = label.removesuffix('.md').replace('_', ' ') if label.endswith('.md') else label  # no files here
            return f'[{label}]({posixpath.relpath(name, posixpath.dirname(page) or ".")}{anchor})'
        if path.startswith('docs/') and path.removeprefix('docs/') not in SCRIPTS:
            return match.group()  # a file that is served as it is
        return f'[{label}]({repo_url.rstrip("/")}/blob/main/{path})' if repo_url else label

    return LINK.sub(replaced, markdown)


# The paper's tables


def table_pages(work_dirs: Path) -> dict[str, str]:
    """A page for each table, one for figure 6, and the one that leads to them."""
    papers = {name: read_config_file(name).get('paper') or {} for name in config_names()}
    runs = {
        name: [measured(run) for run in found if not run.overrides] for name, found in finished_runs(work_dirs).items()
    }
    by_row: dict[str, list[str]] = {}
    for name, paper in papers.items():
        for row in paper.get('rows', ()):
            by_row.setdefault(row, []).append(name)
    rows = list(paper_table_rows().values())
    pages = {}
    lines = []
    for table, title in TABLES.items():
        of_table = [row for row in rows if row.table == table]
        found = sum(bool(runs.get(name)) for row in of_table for name in by_row.get(row.id, ()))
        with_config = sum(row.id in by_row for row in of_table)
        lines.append([f'[{table}](t{table}.md)', title, str(len(of_table)), str(with_config), str(found)])
        pages[f'tables/t{table}.md'] = table_page(f'Table {table}: {title}', of_table, by_row, runs)
    figure = [name for name, paper in papers.items() if paper.get('figure') == 6]
    head = (
        '# Figure 6: the size of the bridge\n\nIt prints no numbers. The other configs vary the size of `fvq/fvq_16k`.'
    )
    pages['tables/f6.md'] = f'{head}\n\n{commands(figure, runs)}\n'
    overview = markdown_table(['table', 'what it compares', 'rows', 'with a config', 'measured here'], lines)
    pages['tables/index.md'] = (REPO / 'docs/tables/index.md').read_text().replace(OVERVIEW, overview)
    return pages


def table_page(title: str, rows: list[PaperRow], by_row: dict[str, list[str]], runs: dict[str, list[str]]) -> str:
    """Every row as the paper prints it, its config, and what finished runs measured."""
    columns = list(dict.fromkeys(column for row in rows for column in row.printed))
    head = ['row', 'system', 'setting', *(column.title for column in columns), 'config', 'measured here']
    cells = []
    for row in rows:
        configs = by_row.get(row.id, [])
        ours = [number for name in configs for number in runs.get(name, ())]
        printed = [row.printed.get(column, '') for column in columns]
        scored = f'`tools/evaluate.py SAMPLES --row {row.id}`' if row.table == '11' else 'none'
        named = '<br>'.join(f'`{short(name)}`' for name in configs) or scored
        cells.append([row.id, row.system, row.setting, *printed, named, '<br>'.join(ours) or 'not yet'])
    noted = {row.note: [one.id for one in rows if one.note == row.note] for row in rows if row.note}
    notes = [f'- {", ".join(ids)}: {note}' for note, ids in noted.items()]
    configs = sorted({name for row in rows for name in by_row.get(row.id, ())})
    parts = [f'# {title}', "The numbers are the paper's; the last column is ours. [How to read the tables](index.md)."]
    parts += [markdown_table(head, cells), '\n'.join(notes), commands(configs, runs)]
    return '\n\n'.join(filter(None, parts)) + '\n'


def commands(configs: list[str], runs: dict[str, list[str]]) -> str:
    """How each config is trained, and its finished runs."""
    width = max(map(len, configs), default=0)
    lines = [
        f'    tools/train.py {name:{width}}' + (f'  # {"; ".join(runs[name])}' if runs.get(name) else '')
        for name in configs
    ]
    return '\n'.join(['## Train the rows', '', *lines]) if configs else ''


def short(name: str) -> str:
    return name.removeprefix('configs/').removesuffix('.py')


# The reference


def reference_pages(api: str) -> dict[str, str]:
    """The names of each block of `api.md` with their docstrings; registries stand together on the page of components."""
    pages = {'reference/components.md': components_page()}
    for block in re.split(r'^## ', api, flags=re.MULTILINE)[1:]:
        name, title = REFERENCE[block.splitlines()[0]]
        entries = [f'::: {module}.{one}' for module, names in imports(block) for one in names if not one.isupper()]
        pages[f'reference/{name}.md'] = '\n\n'.join([f'# {title}', *entries]) + '\n'
    return pages


def imports(block: str) -> Iterator[tuple[str, list[str]]]:
    for module, names in re.findall(r'^from (fvq_[\w.]+) import ([\w, ]+?)(?:  #.*)?$', block, re.MULTILINE):
        yield module, names.split(', ')


def components_page() -> str:
    """Every component that a config may name, by registry, with the first line of its docstring."""
    by_registry: dict[str, list[list[str]]] = {}
    for registry, name, path, summary in registered():
        by_registry.setdefault(registry, []).append([f'`{name}`', summary, f'`{path}`'])
    parts = [
        '# Components by name',
        'What a config may name as `type`, and the file whose docstring has arguments, shapes, units, errors and source. '
        '[Extending](../extending.md) has the contract of each kind.',
    ]
    for registry, rows in sorted(by_registry.items()):
        parts += [f'## {registry}', markdown_table(['type', 'what it is', 'file'], sorted(rows))]
    return '\n\n'.join(parts) + '\n'


def registered() -> Iterator[tuple[str, str, str, str]]:
    """Registry, name, file and summary of each component, read off `@REGISTRY.register_module()` without importing anything."""
    for path in sorted((REPO / 'packages').glob('*/src/**/*.py')):
        source = path.read_text()
        if '.register_module(' not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            for call in getattr(node, 'decorator_list', ()):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith('.register_module'):
                    given = [ast.literal_eval(word.value) for word in call.keywords if word.arg == 'name']
                    names = given[0] if given and isinstance(given[0], list) else given or [node.name]
                    summary = (ast.get_docstring(node) or '').split('\n\n')[0].replace('\n', ' ')
                    place = path.relative_to(REPO / 'packages').parts[2:]
                    yield ast.unparse(call.func).split('.')[0], ', '.join(names), '/'.join(place), summary


# Notebooks


def notebook_page(path: Path) -> str:
    """The cells of a notebook as Markdown, without outputs."""
    parts = []
    for cell in json.loads(path.read_text())['cells']:
        source = ''.join(cell['source'])
        parts.append(source if cell['cell_type'] == 'markdown' else f'```python\n{source}\n```')
    return '\n\n'.join(parts) + '\n'
