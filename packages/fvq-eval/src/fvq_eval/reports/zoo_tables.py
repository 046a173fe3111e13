"""Scores of several tokenizers under several presets: Markdown to read, CSV and JSON to compute with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fvq_core.files.json import write_json
from fvq_core.files.markdown import markdown_table
from fvq_core.stamp import PARTIAL_MARK, TOO_FEW_MARK, stamp

from ..reconstruction.scored_tokenizer import HASHES
from .output_files import write_csv

Document = Mapping[str, Any]
NOTHING = '-'
# Of the codes, which differ between presets by their crops only: given once, of the first preset.
OF_CODES = ('usage', 'usage_1pct', 'perplexity', 'effective_bits_per_image', 'relative_quantization_error')
FACTS = ('data_sha256', 'data_images', 'seconds', 'device')
SHOWN_DIGITS = 12  # of a hash in Markdown


def write_tables(documents: Sequence[Document], out: Path, call: str) -> dict[str, str]:
    """`table.md`, `table.csv` and `table.json`, a row for each tokenizer; their paths by suffix."""
    paths = {suffix: out / f'table.{suffix}' for suffix in ('md', 'csv', 'json')}
    write_csv(paths['csv'], [csv_line(document) for document in documents])
    write_json(paths['json'], {'call': call, 'tokenizers': list(documents)})
    paths['md'].write_text(markdown(documents, call))
    return {suffix: str(path) for suffix, path in paths.items()}


def csv_line(document: Document) -> dict[str, Any]:
    """One tokenizer: hashes, rates, and every number as `preset/metric`."""
    rates = document.get('rates', {})
    joined = {key: ' '.join(map(str, value)) if isinstance(value, list) else value for key, value in rates.items()}
    return {
        'tokenizer': document['tokenizer'],
        'failure': document.get('failure', ''),
        **{key: document.get(key, '') for key in (*HASHES, *FACTS)},
        **joined,
        **{name: '' if one['value'] is None else one['value'] for name, one in document.get('metrics', {}).items()},
    }


def markdown(documents: Sequence[Document], call: str) -> str:
    """What the tokenizers are and what their codes cost, then a table for each preset."""
    scored = [document for document in documents if 'metrics' in document]
    presets = list(dict.fromkeys(name.partition('/')[0] for document in scored for name in document['metrics']))
    parts = [f'    {call}', *data_lines(scored), code_table(documents, presets)]
    failed = [f'- {one["tokenizer"]}: {one["failure"]}' for one in documents if one.get('failure')]
    parts += ['\n'.join(['Not scored:', '', *failed])] if failed else []
    parts += [part for preset in presets for part in preset_table(scored, preset)]
    lines = dict.fromkeys(line for document in scored for line in document.get('left_out', ()))
    parts += ['\n'.join(['Left out:', '', *(f'- {line}' for line in lines)])] if lines else []
    marks = f'{PARTIAL_MARK}: fewer images than the preset asks for. {TOO_FEW_MARK}: too few for this number at all.'
    return '\n\n'.join([*parts, marks]) + '\n'


def data_lines(scored: Sequence[Document]) -> list[str]:
    """The images, with their hash."""
    sets = dict.fromkeys((one['data'], one['data_images'], one['data_sha256']) for one in scored)
    return [f'Images: {data}, {count:,}, SHA-256 of names and bytes {digest}' for data, count, digest in sets]


def code_table(documents: Sequence[Document], presets: Sequence[str]) -> str:
    """A row for each tokenizer: hash, size, codes, bits, and what the first preset says of its codes."""
    head = ['tokenizer', 'weights, SHA-256', 'parameters', 'codes', 'K', 'bits an image', *OF_CODES]
    rows = []
    for document in documents:
        rates, metrics = document.get('rates', {}), document.get('metrics', {})
        cells = [
            document['tokenizer'],
            f'`{document["weights_sha256"][:SHOWN_DIGITS]}`' if 'weights_sha256' in document else NOTHING,
            f'{rates["parameters"]:,}' if rates else NOTHING,
            str(rates.get('codes', NOTHING)),
            ', '.join(map(str, rates.get('vocabularies', ()))) or NOTHING,
            f'{rates["bits_per_image"]:,.0f}' if 'bits_per_image' in rates else NOTHING,
        ]
        rows.append([*cells, *(cell(metrics.get(f'{presets[0]}/{key}')) if presets else NOTHING for key in OF_CODES)])
    return markdown_table(head, rows, numbers=True)


def preset_table(scored: Sequence[Document], preset: str) -> list[str]:
    """Heading, protocols and table of one preset: what is not of the codes, a column a number."""
    keys = dict.fromkeys(key for one in scored for key in one['metrics'] if key.startswith(f'{preset}/'))
    own = [key for key in keys if not is_of_codes(key.partition('/')[2])]
    if not own:
        return []
    rows = [[one['tokenizer'], *(cell(one['metrics'].get(key)) for key in own)] for one in scored]
    protocols = {key: next(stamp(one['metrics'][key]) for one in scored if key in one['metrics']) for key in own}
    lines = '\n'.join(f'- {key.partition("/")[2]}: {protocol}' for key, protocol in protocols.items())
    head = ['tokenizer', *(key.partition('/')[2] for key in own)]
    return [f'## {preset}', markdown_table(head, rows, numbers=True), lines]


def is_of_codes(name: str) -> bool:
    """Whether a number is of the codes."""
    return (
        name in (*OF_CODES, 'relative_perplexity', 'dead_codes', 'quantization_error')
        or '_per_' in name
        or 'bits' in name
    )


def cell(number: Mapping[str, Any] | None) -> str:
    """A number with its unit and marks."""
    if number is None or number['value'] is None:
        return NOTHING
    partial = number.get('required') is not None and number['samples'] < number['required']
    marks = f'{PARTIAL_MARK if partial else ""}{TOO_FEW_MARK if number.get("too_few") else ""}'
    return f'{number["value"]:.4g} {number["unit"]}'.rstrip() + marks
