"""What stands between the network and gradio: bounds on requests, and a page that may fetch nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .uploads import MAX_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MOST = MAX_BYTES + 2**20  # bytes of a request: the largest photo and what stands around it
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


class TooLargeError(Exception):
    """A request of more than `MOST` bytes."""


class Guard:
    """An ASGI middleware. It refuses requests that are too large, and those for files of other hosts, which gradio would
    fetch for whoever asks; and it tells browsers to load nothing from elsewhere.

    Args:
        app: What it stands before.
        most: Bytes of a request.
    """

    def __init__(self, app: App, most: int = MOST) -> None:
        self.app, self.most = app, most

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


async def refuse(send: Send, status: int, text: bytes) -> None:
    """A short answer."""
    headers = [
        (b'content-type', b'text/plain'),
        (b'content-length', str(len(text)).encode()),
        (b'connection', b'close'),
    ]
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': text})
