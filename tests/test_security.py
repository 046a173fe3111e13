"""docs/security.md names every module that parses files, and no other module does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / 'docs/security.md').read_text()
# Calls that parse bytes from outside, by their last one or two names.
RAW = {
    *(
        'torch.load',
        'jit.load',
        'np.load',
        'numpy.load',
        'np.memmap',
        'np.fromfile',
        'format.open_memmap',
        'np.loadtxt',
    ),
    *(
        'json.load',
        'json.loads',
        'pickle.load',
        'pickle.loads',
        'pickle.Unpickler',
        'pickletools.genops',
        'marshal.loads',
    ),
    *('eval', 'exec', 'runpy.run_path', 'Config.fromfile', 'np.fromstring', 'ElementTree.fromstring'),
    *('tarfile.open', 'zipfile.ZipFile', 'Image.open', 'safe_open', 'load_file', 'decode_jpeg', 'decode_image'),
    *('yaml.load', 'yaml.safe_load', 'tomllib.load', 'csv.reader', 'csv.DictReader', 'entry_points', 'mmap.mmap'),
}
# These write, or read back what they have just written.
OWN_BYTES = {
    'fvq_quantizers.codebook_files.make_codebook': {'np.memmap'},
    'fvq_eval.commands.reconstruct_files': {'zipfile.ZipFile'},
    'fvq_generators.image_sets.npz_file': {'zipfile.ZipFile'},
    'fvq_eval.presets.jpeg_codec': {'Image.open'},
}


def listed_modules() -> set[str]:
    """The dotted names in the table's column of readers."""
    rows = [line.split('|')[3] for line in TABLE.splitlines() if line.startswith('|')]
    return set(re.findall(r'`(fvq(?:_\w+)?(?:\.\w+)+)`', ' '.join(rows)))


def raw_reads(source: str) -> Iterator[str]:
    """What of `RAW` a module calls or imports by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute | ast.Name):
            name = '.'.join(ast.unparse(node).split('.')[-2:])
            if name in RAW:
                yield name
        elif isinstance(node, ast.ImportFrom):
            whole = {f'{(node.module or "").split(".")[-1]}.{alias.name}' for alias in node.names}
            yield from (whole | {alias.name for alias in node.names}) & RAW


def modules() -> Iterator[tuple[str, str]]:
    """Dotted name and source of every module of the packages."""
    for path in sorted(ROOT.glob('packages/*/src/**/*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts[3:]
        yield '.'.join(parts).removesuffix('.__init__'), path.read_text()


def test_every_reader_of_the_table_exists() -> None:
    names = listed_modules()
    assert len(names) > 12
    for name in names:
        import_module(name)


def test_files_are_parsed_by_modules_of_the_table_only() -> None:
    listed, found = listed_modules(), {name: set(raw_reads(source)) for name, source in modules()}
    assert sum(map(bool, found.values())) > 12
    stray = {name: calls - OWN_BYTES.get(name, set()) for name, calls in found.items() if name not in listed}
    assert not {name: calls for name, calls in stray.items() if calls}, (
        'use a reader of docs/security.md, or list the new one'
    )
    assert all(calls <= found[name] for name, calls in OWN_BYTES.items())


def test_methods_of_the_same_name_do_not_count_and_imports_do() -> None:
    assert set(raw_reads('model.eval()\nre.compile("x")\n# torch.load\n')) == set()
    assert set(raw_reads('from json import loads\nimport torch\ntorch.jit.load(p)\neval("1")')) == {
        'json.loads',
        'jit.load',
        'eval',
    }
