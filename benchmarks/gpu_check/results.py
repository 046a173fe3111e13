"""The file of results: a record a section, read again to go on and to know which kernels are proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fvq_core.files.json import read_json_object, write_json

from .section import REPO, Check, Section
from .sources import sources_hash

PASS, FAIL, KILLED = 'pass', 'fail', 'killed'
SAME = ('sources', 'command', 'card', 'torch', 'triton')  # what a result is of


def identity(section: Section, machine: Mapping[str, Any], repo: Path = REPO, rehearse: bool = False) -> dict[str, Any]:
    """What a result of a section is of: sources, command, card and versions."""
    return {
        'sources': sources_hash(section.all_sources, repo),
        'command': ' '.join(['python', *section.call(rehearse)]),
        **{key: machine.get(key) for key in ('card', 'torch', 'triton')},
    }


def is_of(record: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a record is of what is here now."""
    return all(record.get(key) == now[key] for key in SAME)


def judged(section: Section, checks: Iterable[Check], repo: Path = REPO) -> dict[str, Any]:
    """Checks as a record has them, and the verdict of each kernel with the hash of its sources."""
    checks = list(checks)
    kernels = {}
    for name, globs in section.kernels.items():
        deciding = [check for check in checks if check.kernel == name and check.kind != 'target']
        both = {check.kind for check in deciding} == {'equality', 'gain'}
        passed = both and all(check.passed for check in deciding)
        kernels[name] = {'sources': sources_hash(globs, repo), 'verdict': PASS if passed else FAIL}
    return {'checks': [vars(check) for check in checks], 'kernels': kernels}


def read_results(path: Path | None) -> dict[str, dict[str, Any]]:
    """Records by section; none for no file.

    Raises:
        UserError: The file is missing or damaged.
    """
    return {} if path is None else dict(read_json_object(path).get('sections', {}))


def write_results(path: Path, card: str, records: Mapping[str, Any]) -> None:
    """Write all records, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {'card': card, 'sections': records})


def unproven(kernel: str, sections: Iterable[Section], folder: Path, repo: Path = REPO) -> str | None:
    """Why no result in `folder` proves a kernel as its sources are now; None if one does."""
    globs = [section.kernels[kernel] for section in sections if kernel in section.kernels]
    if not globs:
        return f'no section of gpu-check names the kernel {kernel}'
    now = {sources_hash(each, repo) for each in globs}
    found = [
        record['kernels'][kernel]
        for path in sorted(folder.glob('*.json'))
        for record in read_results(path).values()
        if kernel in record.get('kernels', {})
    ]
    if not found:
        return f'no result in {folder.name} is of the kernel {kernel}'
    current = [each for each in found if each['sources'] in now]
    if not current:
        return f'the sources of the kernel {kernel} have changed since its result'
    return None if any(each['verdict'] == PASS for each in current) else f'the kernel {kernel} has failed'
