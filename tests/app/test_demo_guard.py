"""The bound on uploads that nobody opens, without a page; other bounds of requests are in test_demo_page."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fvq.demo.guard import Guard


def status(guard: Guard, path: str) -> int:
    """What a request gets."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {'type': 'http.request', 'body': b''}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(guard({'type': 'http', 'path': path, 'headers': []}, receive, send))
    return sent[0]['status']


async def page(scope: Any, receive: Any, send: Any) -> None:
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})


def test_uploads_that_nobody_opens_do_not_fill_the_disk(tmp_path: Path) -> None:
    guard = Guard(page, str(tmp_path), most_kept=1000)
    for name in 'ab':
        assert status(guard, '/gradio_api/upload') == 200
        (tmp_path / name).mkdir()
        (tmp_path / name / 'photo.png').write_bytes(b'0' * 600)
    for path in ('/gradio_api/upload', '/gradio_api/upload/', '/upload'):
        assert status(guard, path) == 507
    assert status(guard, '/gradio_api/queue/join') == 200, 'the page still works'
    (tmp_path / 'a/photo.png').unlink()  # it was opened
    assert status(guard, '/gradio_api/upload') == 200
