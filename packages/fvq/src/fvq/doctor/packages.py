"""Python, FVQ's packages and their extras, as they are installed; nothing of them is imported."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement

from .finding import Finding

PACKAGES = ('fvq', 'fvq-core', 'fvq-quantizers', 'fvq-generators', 'fvq-eval')
TESTED = ((3, 11), (3, 12))
TRAINS = 'train'  # the extra that training needs


def check_packages() -> Iterator[Finding]:
    """Python, each package, each extra of `fvq`."""
    tested = sys.version_info[:2] in TESTED
    remedy = '' if tested else 'FVQ is tested with Python 3.11 and 3.12'
    yield Finding('packages', 'Python', platform.python_version(), 'ok' if tested else 'note', remedy)
    versions = {name: installed(name) for name in PACKAGES}
    for name, found in versions.items():
        if found is None:
            yield Finding('packages', name, 'not installed', 'note', "pip install 'fvq[train]'")
        elif found != versions['fvq']:
            yield Finding(
                'packages', name, f'{found}, beside fvq {versions["fvq"]}', 'stop', 'install all of one version'
            )
        else:
            yield Finding('packages', name, found)
    for extra in metadata('fvq').get_all('Provides-Extra') or ():
        missing = sorted(set(missing_of('fvq', extra)))
        if missing:
            status = 'stop' if extra == TRAINS else 'note'
            yield Finding('extras', extra, f'without {", ".join(missing)}', status, f"pip install 'fvq[{extra}]'")
        else:
            yield Finding('extras', extra, 'installed')


def installed(name: str) -> str | None:
    """The version of an installed distribution; None if it is not here."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def missing_of(package: str, extra: str) -> Iterator[str]:
    """The distributions that an extra of a package asks for and that are absent, or of another version, at any depth."""
    for line in requires(package) or ():
        wanted = Requirement(line)
        if wanted.marker is None or 'extra' not in str(wanted.marker) or not wanted.marker.evaluate({'extra': extra}):
            continue
        found = installed(wanted.name)
        if found is None or not wanted.specifier.contains(found, prereleases=True):
            yield str(wanted).partition(';')[0].strip()
            continue
        for inner in wanted.extras:
            yield from missing_of(wanted.name, inner)
