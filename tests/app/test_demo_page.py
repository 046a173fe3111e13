"""The demo page as a client of its endpoints sees it, and as its users see it in headless Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fvq_core.errors import UserError
from tests.pictures import gradient, picture

from .demo_models import save_models
from .test_demo_uploads import bomb

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

    return list(user.predict(handle_file(str(path)), tokenizer, longest, api_name='/open'))


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


def test_a_code_is_looked_up_changed_and_put_back(page: Served, tmp_path: Path):
    user = page.client()
    (board,) = boards(upload(user, photo_file(tmp_path)))
    codes = board['plane']['codes']
    looked = user.predict(0, 31, api_name='/look_up')
    count = codes.count(codes[31]) - 1
    text = next(each for each in looked if isinstance(each, str) and each.startswith('**Code'))
    assert text.startswith(f'**Code {codes[31]}** at row 2, column 6, used ')
    assert (f'at {count} other position' in text) == (count > 0)
    other = (codes[31] + 1) % 16
    changed = user.predict(0, 31, 'Replace it', 'everywhere it is used', other, api_name='/change')
    (edited,) = boards(changed)
    assert edited['plane']['codes'] == [other if code == codes[31] else code for code in codes]
    assert edited['panels'][0]['src'] != board['panels'][1]['src']
    assert boards(user.predict(0, 31, api_name='/undo')) == []
    swapped = user.predict(0, 31, 'Swap it with', 'here', other, api_name='/change')
    there = {codes[31]: other, other: codes[31]}
    assert boards(swapped)[0]['plane']['codes'] == [there.get(code, code) for code in codes]
    for cell, code, message in ((-1, 1, 'positions, numbered from 0'), (31, 99, 'whole numbers from 0 to 15')):
        assert message in notice(user.predict(0, cell, 'Replace it', 'here', code, api_name='/change'))
    assert 'choose a photo first' in notice(page.client().predict(0, 1, api_name='/look_up')).lower()


def test_what_cannot_be_shown_costs_one_line_and_the_photo_stays(page: Served, tmp_path: Path):
    user = page.client()
    before = boards(upload(user, photo_file(tmp_path)))
    for name, data, message in (
        (
            'photo.heic',
            b'\0\0\0\x18ftypheic\0\0\0\0mif1heic',
            'HEIC, which Pillow does not read; convert it to JPEG or PNG',
        ),
        ('broken.png', photo_file(tmp_path).read_bytes()[:60], 'truncated or damaged'),
        ('bomb.png', bomb(30_000, 30_000), 'more than the 268,435,456'),
        ('<b>.png', b'nothing', 'truncated or damaged'),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        outputs = upload(user, path)
        assert message in notice(outputs), name
        assert notice(outputs).count('\n') == 0
        assert 'Traceback' not in str(outputs)
        assert boards(outputs) == []
    assert boards(user.predict('grid', 64, api_name='/choose')) == before


def test_two_users_at_once_see_their_own_photos(page: Served, tmp_path: Path):
    from concurrent.futures import ThreadPoolExecutor

    def visit(seed: int) -> tuple[Any, Any, Any]:
        user = page.client()
        (board,) = boards(upload(user, photo_file(tmp_path, seed)))
        code = board['plane']['codes'][0]
        (edited,) = boards(user.predict(0, 0, 'Replace it', 'here', (code + 1) % 16, api_name='/change'))
        (again,) = boards(user.predict('grid', 64, api_name='/choose'))
        return board, edited, again

    with ThreadPoolExecutor(3) as users:
        seen = list(users.map(visit, range(3)))
    alone = [visit(seed) for seed in range(3)]
    assert seen == alone
    assert len({board['panels'][0]['src'] for board, _, _ in seen}) == 3
    for board, edited, again in seen:
        assert again == board
        assert [a == b for a, b in zip(board['plane']['codes'], edited['plane']['codes'], strict=True)].count(
            False
        ) == 1


def test_tokenizers_of_other_layouts_are_shown_or_say_why_not(page: Served, tmp_path: Path):
    user = page.client()
    upload(user, photo_file(tmp_path))
    residual = user.predict('residual', 64, api_name='/choose')
    (board,) = boards(residual)
    (first,) = boards(user.predict(0, api_name='/choose_map'))
    assert first['plane']['codes'] != board['plane']['codes'], 'another depth'
    (sequence,) = boards(user.predict('sequence', 64, api_name='/choose'))
    assert sequence['plane'] == dict(sequence['plane'], rows=1, columns=6, on_image=False)
    continuous = user.predict('continuous', 64, api_name='/choose')
    assert boards(continuous)[0]['plane'] is None
    assert any('it has latents, not codes' in str(each) for each in continuous)
    compared = user.predict('grid', 'continuous', 64, api_name='/compare')
    assert len(boards(compared)[0]['panels']) == 5
    assert any(str(each).count('dB |') == 2 for each in compared)
    assert 'choose another tokenizer' in notice(user.predict('grid', 'grid', 64, api_name='/compare')).lower()
    near = user.predict('grid', 3, api_name='/neighbours')
    assert boards(near)[0]['panels'][0]['title'] == 'code 3'
    assert 'has codes 0 to 15' in notice(user.predict('grid', 16, api_name='/neighbours'))


def test_a_generator_draws_what_the_command_line_draws(page: Served):
    from dataclasses import fields

    from fvq.demo.drawing import draw

    from .demo_models import tiny_images

    user, model = page.client(), tiny_images('LlamaGen')
    defaults = model.settings()
    values = [getattr(defaults, each.name) for each in fields(defaults)]
    job = user.submit('1 3', 5, 7, 'nothing', None, *values, api_name='/draw_LlamaGen')
    job.result(120)
    gallery = next(each for each in job.outputs()[-1] if isinstance(each, list))
    pictures = [np.asarray(Image.open(each['image']).convert('RGB')) for each in gallery]
    assert [each['caption'] for each in gallery] == [f'class {label}' for label in (1, 3, 1, 3, 1)]
    expected = list(draw(model, (1, 3), 5, 7, {}))[-1]
    for picture_, (own, _) in zip(pictures, expected, strict=True):
        assert np.abs(picture_.astype(int) - own).max() <= 1
    cold = [-1.0 if each.name == 'temperature' else value for each, value in zip(fields(defaults), values, strict=True)]
    for classes, settings, message in (
        ('9', values, 'lasses are numbers from 0 to 4'),
        ('1', cold, 'temperature must be'),
    ):
        outputs = user.predict(classes, 1, 0, 'nothing', None, *settings, api_name='/draw_LlamaGen')
        assert message in notice(outputs)


def test_the_page_serves_its_own_files_only_and_bounds_uploads(page: Served, tmp_path: Path):
    import httpx

    secret = tmp_path / 'secret.txt'
    secret.write_text('secret')
    with httpx.Client(base_url=page.address.rstrip('/'), timeout=60) as browser:
        home = browser.get('/')
        assert "default-src 'self'" in home.headers['content-security-policy']
        for path in (secret, Path('README.md').resolve(), Path('/etc/hostname')):
            assert browser.get(f'/gradio_api/file={path}').status_code in (403, 404)
        for other in ('http://127.0.0.1:1/', 'https://example.com/'):
            assert browser.get(f'/gradio_api/file={other}').status_code == 403
        large = {'files': ('large.png', b'\0' * (33 * 2**20), 'image/png')}
        assert browser.post('/gradio_api/upload', files=large).status_code == 413
        assert browser.post('/gradio_api/queue/join', content=b' ' * (34 * 2**20)).status_code == 413
        undeclared = browser.post('/gradio_api/queue/join', content=(b' ' * 2**20 for _ in range(34)))
        assert undeclared.status_code in (400, 413)
        assert not [path for path in page.folder.rglob('*') if path.is_file() and path.stat().st_size > 2**20]
        function = next(
            each['id'] for each in browser.get('/config').json()['dependencies'] if each['api_name'] == 'open'
        )
        for path in (str(secret), 'http://127.0.0.1:1/photo.png'):
            data = [{'path': path, 'meta': {'_type': 'gradio.FileData'}}, 'grid', 64]
            asked = {'data': data, 'fn_index': function, 'session_hash': 'stranger'}
            assert browser.post('/gradio_api/queue/join', json=asked).status_code == 200
            with browser.stream('GET', '/gradio_api/queue/data', params={'session_hash': 'stranger'}) as events:
                lines = [line for line in events.iter_lines() if 'process_completed' in line]
            assert '"success":false' in lines[0].replace(' ', '')
            assert 'Traceback' not in lines[0]


def test_a_port_in_use_and_a_busy_machine(page: Served, monkeypatch: pytest.MonkeyPatch):
    import gradio
    from gradio import networking

    from fvq.demo.serve import launched

    port = int(page.address.rstrip('/').rpartition(':')[2])
    quiet: dict[str, Any] = dict(
        server_name='127.0.0.1', quiet=True, share=False, prevent_thread_lock=True, ssr_mode=False
    )
    with gradio.Blocks(analytics_enabled=False) as blocks:
        gradio.Markdown('busy')
    with pytest.raises(UserError, match=f'cannot listen at 127.0.0.1:{port}: the port is in use'):
        launched(blocks, server_port=port, **quiet)
    answers = [False, True]
    monkeypatch.setattr(networking, 'url_ok', lambda url: answers.pop(0))
    assert launched(blocks, server_port=None, **quiet)[1].startswith('http://127.0.0.1:')
    assert answers == [], 'it was asked again'
    blocks.close(verbose=False)
    monkeypatch.setattr(networking, 'url_ok', lambda url: False)
    with pytest.raises(UserError, match='does not answer: a proxy may stand in between'):
        launched(blocks, server_port=None, **quiet)


CHROMIUM = os.environ.get('FVQ_CHROMIUM') or shutil.which('chromium') or shutil.which('chromium-browser')


@pytest.fixture(scope='module')
def chromium() -> Iterator[Any]:
    """A headless browser."""
    playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright, see requirements-extras.txt')
    if CHROMIUM is None:
        pytest.skip('needs Chromium: FVQ_CHROMIUM, or chromium on the PATH')
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


def visit(chromium: Any, page: Served, asked: list[str]) -> Any:
    """A new user's page once it shows the first photo; addresses it asks for are noted."""
    tab = chromium.new_context(viewport=dict(width=1400, height=1000)).new_page()
    tab.set_default_timeout(90_000)
    tab.on('request', lambda request: asked.append(request.url))
    tab.goto(page.address)
    tab.wait_for_selector('#fvq-photo .fvq-frame img')
    return tab


def test_in_a_browser_pictures_appear_and_a_click_changes_the_map(chromium: Any, page: Served, tmp_path: Path):
    asked: list[str] = []
    tab = visit(chromium, page, asked)
    photo = tmp_path / 'gradient.png'
    gradient(52, 36).save(photo)
    first = tab.locator('#fvq-photo img').first.get_attribute('src')
    tab.set_input_files('#fvq-upload input[type=file]', str(photo))
    tab.wait_for_function('src => document.querySelector("#fvq-photo img").src !== src', arg=first)
    frames = tab.locator('#fvq-photo .fvq-frame')
    assert frames.count() == 4
    assert tab.evaluate('[...document.querySelectorAll("#fvq-photo img")].every(each => each.naturalWidth > 0)')
    frames.nth(1).hover(position=dict(x=40, y=30))
    tip = tab.locator('#fvq-photo .fvq-tip')
    assert 'code' in tip.inner_text()
    marked = '#fvq-photo .fvq-own[d^="M"]'
    assert tab.locator(marked).count() == 4, 'the position is marked in all pictures'
    frames.nth(3).click(position=dict(x=8, y=8))
    tab.wait_for_selector('#fvq-found >> text=/Code \\d+ at row \\d+, column \\d+/')
    tab.get_by_label('With code').fill('15')
    tab.get_by_label('everywhere it is used').check()
    tab.get_by_role('button', name='Change and decode').click()
    tab.wait_for_selector('#fvq-edited .fvq-frame img')
    assert 'changed' in tab.locator('#fvq-edited').inner_text()
    frames.nth(0).focus()
    tab.keyboard.press('ArrowRight')
    tab.wait_for_selector('#fvq-found >> text=/row 1, column|row 2, column/')
    tab.set_input_files(
        '#fvq-upload input[type=file]', files=[dict(name='a.png', mimeType='image/png', buffer=b'no image')]
    )
    tab.wait_for_selector('#fvq-notice [role=alert]')
    line = tab.locator('#fvq-notice').inner_text()
    assert 'truncated or damaged' in line
    assert 'Traceback' not in tab.content()
    assert frames.count() == 4, 'the photo stays'
    tab.wait_for_selector('#fvq-upload >> text=Click to Upload')  # for the next one
    assert [url for url in asked if not url.startswith((page.address, 'data:', 'blob:'))] == [], (
        'nothing from elsewhere'
    )


def test_in_a_browser_two_users_keep_to_themselves_and_all_tabs_work(chromium: Any, page: Served, tmp_path: Path):
    asked: list[str] = []
    one, other = visit(chromium, page, asked), visit(chromium, page, asked)
    before = other.locator('#fvq-photo img').first.get_attribute('src')
    one.locator('#fvq-thumbs button').nth(1).click()
    one.wait_for_function('src => document.querySelector("#fvq-photo img").src !== src', arg=before)
    assert other.locator('#fvq-photo img').first.get_attribute('src') == before
    one.get_by_role('tab', name='Compare').click()
    one.wait_for_selector('#fvq-comparison .fvq-frame img')
    assert one.locator('#fvq-comparison .fvq-frame').count() == 5
    one.get_by_role('tab', name='Generate').click()
    one.get_by_role('button', name='Draw', exact=True).first.click()
    one.wait_for_selector('text=class 0')
    one.get_by_role('tab', name='Codebook').click()
    one.wait_for_selector('#fvq-near .fvq-frame img')
    one.locator('#fvq-cloud canvas').hover(position=dict(x=60, y=60))
    assert one.locator('.fvq-usage').count() == 1
    assert [url for url in asked if not url.startswith((page.address, 'data:', 'blob:'))] == []
