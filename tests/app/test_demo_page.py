"""The demo page as a client of its endpoints sees it, and as its users see it in headless Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.pictures import picture

from .demo_models import save_models

pytest.importorskip('gradio', reason='needs the extra fvq[demo]')

pytestmark = [
    pytest.mark.processes,  # it listens at a port
    pytest.mark.filterwarnings('ignore::DeprecationWarning'),  # gradio's own, and those of what it stands on
    pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),  # sockets of its event loops
    pytest.mark.filterwarnings('ignore:unclosed:ResourceWarning'),
]


class Served:
    """A page with four tokenizers and two generators."""

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def folder(self) -> Path:
        """Where it may write."""
        return Path(os.environ['GRADIO_TEMP_DIR'])

    def client(self) -> Any:
        """A user of its own."""
        from gradio_client import Client

        return Client(self.address, verbose=False, analytics_enabled=False)


@pytest.fixture(scope='module')
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from fvq.demo.models import Models
    from fvq.demo.serve import served

    saved = save_models(tmp_path_factory.mktemp('models'))
    tokenizers = [saved[name] for name in ('grid', 'residual', 'sequence', 'continuous')]
    with pytest.MonkeyPatch.context() as patch:
        for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED', 'HF_HUB_DISABLE_TELEMETRY'):
            patch.setenv(name, '')  # so that they are put back
        patch.setattr(Image, 'MAX_IMAGE_PIXELS', Image.MAX_IMAGE_PIXELS)
        with served(Models(tokenizers, [saved['LlamaGen'], saved['MaskGIT']])) as address:
            running = Served(address)
            folder = running.folder
            assert folder.is_dir()
            yield running
        assert not folder.exists(), 'all that was uploaded is gone'


def upload(user: Any, path: Path, tokenizer: str = 'grid', longest: int = 64) -> list[Any]:
    """What the page shows of a file."""
    from gradio_client import handle_file

    return found(user.predict(handle_file(str(path)), tokenizer, longest, api_name='/open'))


def found(outputs: Any) -> list[Any]:
    """The outputs that are values."""
    return list(outputs)


def boards(outputs: list[Any]) -> list[dict[str, Any]]:
    """The boards among outputs."""
    values = [each.get('value', each) if isinstance(each, dict) else each for each in outputs]
    return [each for each in values if isinstance(each, dict) and 'panels' in each]


def notice(outputs: list[Any]) -> str:
    """The line that says what went wrong; empty if nothing did."""
    shown = outputs[0]
    return shown.get('value', '') if isinstance(shown, dict) and shown.get('visible') else ''


def photo_file(folder: Path, seed: int = 0) -> Path:
    path = folder / f'photo_{seed}.png'
    picture(52, 36, seed).save(path)
    return path


def test_a_photo_is_shown_and_its_file_does_not_stay(page: Served, tmp_path: Path):
    outputs = upload(page.client(), photo_file(tmp_path))
    assert notice(outputs) == ''
    (board,) = boards(outputs)
    assert [panel['title'] for panel in board['panels']] == ['Original', 'Reconstruction', 'Difference', 'Codes']
    assert board['plane']['rows'] * board['plane']['columns'] == 18 * 26 == len(board['plane']['codes'])
    assert not list(page.folder.rglob('photo_0*'))
