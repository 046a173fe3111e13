"""A folder that is ready to be pushed as a Hugging Face Space: the page, the models and the packages it runs on."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError
from fvq_core.files.json import read_json
from fvq_core.files.paths import check_parents, expand_home
from fvq_core.saving.kind import CONFIG_NAME
from fvq_core.saving.read_folder import find_folder
from fvq_generators.image_generator import ImageGenerator

from .models import Models, short_names

OURS = {'fvq': 'fvq', 'fvq-core': 'fvq_core', 'fvq-quantizers': 'fvq_quantizers'}
OURS |= {'fvq-generators': 'fvq_generators', 'fvq-eval': 'fvq_eval'}
LIBRARY = 'packages'  # of our packages, which are on no index yet
IGNORED = shutil.ignore_patterns('__pycache__', '*.pyc', '*.pyi', '*.partial')
APP = '''\
"""The demo page of FVQ as a Hugging Face Space."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / {library!r}))

from fvq.demo.models import Models
from fvq.demo.serve import serve
from fvq_core.ops.distributed import choose_device


def of_space(names):
    """Folders of this Space, and repositories of the hub as they are."""
    return [str(HERE / name) if (HERE / name).is_dir() else name for name in names]


if __name__ == '__main__':
    models = Models(of_space({tokenizers!r}), of_space({generators!r}), choose_device('auto'))
    host, port = (os.environ.get(f'GRADIO_SERVER_{{name}}') for name in ('NAME', 'PORT'))
    serve(models, host or '0.0.0.0', int(port or 7860), share=False)
'''
README = """\
---
title: {title}
emoji: 🧩
colorFrom: yellow
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
models: {hub}
---

A page to look into image tokenizers with [FVQ](https://arxiv.org/abs/2509.10140): photos and their reconstructions, the map of
codes, codes swapped and erased, tokenizers side by side, generators and codebooks.

`{library}/` has FVQ's packages, `models/` the models, `requirements.txt` everything else, at the versions that wrote this
folder.
"""
LARGE_FILES = '*.safetensors filter=lfs diff=lfs merge=lfs -text\n'


def write_space(out: str, tokenizers: Sequence[str], generators: Sequence[str] = ()) -> None:
    """Write the folder of a Space; all models are loaded first, so that none of it is broken.

    Args:
        out: A new or an empty folder.
        tokenizers: Folders, which are copied, or repositories of the hub, which the Space loads by name.
        generators: The same.

    Raises:
        UserError: A folder with something in it, or a model that does not load.
    """
    folder = Path(expand_home(out))
    check_parents(folder / 'app.py')
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f'--space {out}: there is something already; name a new folder, or an empty one.')
    Models(tokenizers, generators)
    folder.mkdir(parents=True, exist_ok=True)
    kept = [copied(folder, sources) for sources in (tokenizers, generators)]
    hub = [name for names in kept for name in names if '/' in name and not (folder / name).is_dir()]
    for distribution, package in OURS.items():
        copy_package(folder / LIBRARY, distribution, package)
    title = 'FVQ: ' + ', '.join(short_names(tokenizers) or short_names(generators))
    gradio, python = importlib.metadata.version('gradio'), f'{sys.version_info[0]}.{sys.version_info[1]}'
    facts = dict(title=json.dumps(title), gradio=gradio, python=python, hub=json.dumps(hub), library=LIBRARY)
    (folder / 'README.md').write_text(README.format(**facts), encoding='utf-8')
    (folder / 'app.py').write_text(
        APP.format(library=LIBRARY, tokenizers=kept[0], generators=kept[1]), encoding='utf-8'
    )
    (folder / 'requirements.txt').write_text(''.join(f'{line}\n' for line in requirements()), encoding='utf-8')
    (folder / '.gitattributes').write_text(LARGE_FILES)


def copied(folder: Path, sources: Sequence[str]) -> list[str]:
    """Copy the models that are folders here into `models/`; returns what the Space calls each."""
    names = []
    for source, short in zip(sources, short_names(sources), strict=True):
        path = Path(expand_home(source))
        if path.is_file():
            raise UserError(f'--space: {source} is a checkpoint; export it to a folder first.')
        if not path.is_dir():
            names.append(source)
            continue
        kind = ImageGenerator.saved_kind if is_generator(path) else Autoencoder.saved_kind
        name = f'models/{kind.name}_{Path(short).name}_{len(list(folder.glob("models/*")))}'
        shutil.copytree(find_folder(path, kind), folder / name, ignore=IGNORED)
        names.append(name)
    return names


def is_generator(path: Path) -> bool:
    """Whether a folder describes a generator."""
    return ImageGenerator.saved_kind.name in (read_json(path / CONFIG_NAME) or {})


def copy_package(library: Path, distribution: str, package: str) -> None:
    """Copy a package with its metadata, by which its components and commands are found."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, library / package, ignore=IGNORED)
    found = importlib.metadata.distribution(distribution)
    info = library / f'{package}-{found.version}.dist-info'
    info.mkdir()
    for name in ('METADATA', 'entry_points.txt'):
        text = found.read_text(name)
        if text is not None:
            (info / name).write_text(text, encoding='utf-8')


def requirements() -> list[str]:
    """What our packages need of others for this page, at the versions that are installed here: `name==version`, sorted."""
    found: dict[str, str] = {}
    for name in needed('fvq', ('demo',), set()):
        version = importlib.metadata.version(name).partition('+')[0]  # without what torch adds of its build
        found[name.lower()] = f'{name}=={version}'
    return [found[name] for name in sorted(found)]


def needed(distribution: str, extras: Iterable[str], seen: set[tuple[str, str]]) -> list[str]:
    """The names of the other packages that one of ours names as its requirements, with those of our packages it needs."""
    names: list[str] = []
    metadata: Distribution = importlib.metadata.distribution(distribution)
    for text in metadata.requires or []:
        requirement = Requirement(text)
        for extra in ('', *extras):
            if requirement.marker is not None and not requirement.marker.evaluate({'extra': extra}):
                continue
            if (text, extra) in seen:
                continue
            seen.add((text, extra))
            name = requirement.name
            names += needed(name, requirement.extras, seen) if name in OURS else [name]
    return names
