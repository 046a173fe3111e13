"""What stands between the network and gradio: bounds on requests, and a page that may fetch nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .uploads import MAX_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MOST = MAX_BYTES + 2**20  # bytes of a request: the largest photo and what stands around it
MOST_KEPT = 2**31  # bytes of uploads that nobody has opened; gradio removes them after an hour
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = [
    (b'content-security-policy', POLICY.encode()),
    (b'referrer-policy', b'same-origin'),
    (b'x-content-type-options', b'nosniff'),
]


TOO_LARGE = b'this request is too large'
FULL = b'too many uploads are waiting to be opened; come back later'


class TooLargeError(Exception):
    """A request of more than `MOST` bytes."""


class Guard:
    """An ASGI middleware. It refuses requests that are too large, and those for files of other hosts, which gradio would
    fetch for whoever asks; and it tells browsers to load nothing from elsewhere.

    Args:
        app: What it stands before.
        folder: Where uploads are written; what lies there is bounded too.
        most: Bytes of a request.
        most_kept: Bytes in that folder.
    """

    def __init__(self, app: App, folder: str, most: int = MOST, most_kept: int = MOST_KEPT) -> None:
        self.app, self.folder, self.most, self.most_kept = app, Path(folder), most, most_kept

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        if 'file=http:' in scope['path'] or 'file=https:' in scope['path'] or '/proxy=' in scope['path']:
            await refuse(send, 403, b'this page serves no files of other hosts')
            return
        declared = dict(scope['headers']).get(b'content-length', b'0')
        if declared.isdigit() and int(declared) > self.most:
            await refuse(send, 413, TOO_LARGE)
            return
        if scope['path'].rstrip('/').endswith('/upload') and size(self.folder) > self.most_kept:
            await refuse(send, 507, FULL)
            return
        started, received = False, 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get('body', b''))
            if received > self.most:
                raise TooLargeError
            return message

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message['type'] == 'http.response.start':
                started = True
                message = {**message, 'headers': [*message.get('headers', []), *HEADERS]}
            await send(message)

        try:
            await self.app(scope, bounded, with_headers)
        except TooLargeError:
            if not started:
                await refuse(send, 413, TOO_LARGE)


def size(folder: Path) -> int:
    """Bytes of all files in a folder, from which others may be removed meanwhile."""
    found = 0
    for path in folder.rglob('*'):
        with suppress(FileNotFoundError):
            found += path.stat().st_size if path.is_file() else 0
    return found


async def refuse(send: Send, status: int, text: bytes) -> None:
    """A short answer."""
    headers = [
        (b'content-type', b'text/plain'),
        (b'content-length', str(len(text)).encode()),
        (b'connection', b'close'),
    ]
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': text})
