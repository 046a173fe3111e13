"""A web server of tar shards on this machine, with faults on request."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

from ..pictures import picture

PER_SHARD = 6


def encoded(image: Image.Image, kind: str = 'PNG') -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def tar_of(members: dict[str, bytes]) -> bytes:
    """A tar file with these members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def shard(number: int) -> bytes:
    """Shard `number` of pictures of 12x10 whose labels count them through."""
    members = {}
    for image in range(PER_SHARD * number, PER_SHARD * (number + 1)):
        members[f'{image:04d}.png'] = encoded(picture(12, 10, image))
        members[f'{image:04d}.cls'] = f'{image}\n'.encode()
    return tar_of(members)


@dataclass
class ShardServer:
    """What a server has, what it does wrong, and what it was asked.

    Attributes:
        url: Where it is.
        files: Bodies by path.
        faults: By path, what happens to the next requests in order: a status, or -N for a connection lost after N bytes.
        asked: Paths, in order.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.lstrip('/')
        self.asked.append(path)
        fault = self.faults[path].pop(0) if self.faults.get(path) else 0
        body = self.files.get(path)
        if fault > 0 or body is None:
            handler.send_error(fault or 404)
            return
        handler.send_response(200)
        handler.send_header('Content-Length', str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:-fault] if fault else body)
        if fault:
            handler.close_connection = True


@contextmanager
def serve() -> Iterator[ShardServer]:
    """A server on a free port of 127.0.0.1."""
    found: list[ShardServer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found[0].answer(self)

        def log_message(self, *arguments: object) -> None:
            """Nothing: tests look at `asked`."""

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as http:
        found.append(ShardServer(f'http://127.0.0.1:{http.server_address[1]}'))
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield found[0]
        http.shutdown()
        thread.join()
