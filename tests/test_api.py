"""The imports that docs/api.md promises work, and those that others rely on are promised."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / 'docs/api.md').read_text()
IMPORTS = re.findall(r'^from (fvq_[\w.]+) import ([\w, ]+?)(?:  #.*)?$', TEXT, re.MULTILINE)
RELIED_ON = ('tokenizer', 'codes', 'images', 'nearest_code', 'registry', 'data', 'interop.convert')


@pytest.mark.parametrize(('module', 'names'), IMPORTS)
def test_a_promised_import_works(module: str, names: str):
    imported = import_module(module)
    missing = [name for name in names.split(', ') if not hasattr(imported, name)]
    assert missing == [], f'docs/api.md promises {missing} of {module}'


def test_every_line_of_the_page_is_checked():
    assert len(IMPORTS) == sum(line.startswith(('from ', 'import ')) for line in TEXT.splitlines())
    assert {f'fvq_core.{name}' for name in RELIED_ON} <= {module for module, _ in IMPORTS}
    assert ('fvq_core.interop.convert', 'convert_file') in IMPORTS
