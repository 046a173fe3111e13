"""Serving the page: to this machine only unless asked, from a temporary folder that is removed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fvq_core.errors import UserError

from .models import Models
from .uploads import MAX_BYTES, MAX_PIXELS

LOCALHOST = '127.0.0.1'
WAITING = 64  # requests in the queue; more are told to come back
LAUNCHES = 3
SESSIONS = 200  # of which photos and codes are kept


def prepare(folder: str) -> None:
    """Settings that gradio reads from the environment: where it writes, and that it tells nobody. Before gradio is imported."""
    os.environ['GRADIO_TEMP_DIR'] = folder
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ['HF_HUB_DISABLE_TELEMETRY'] = '1'


@contextmanager
def served(
    models: Models, host: str = LOCALHOST, port: int | None = None, share: bool = False, quiet: bool = True
) -> Iterator[str]:
    """The address of the page, which is served inside the block; all that was uploaded is removed at its end.

    Args:
        models: What the page shows.
        host: 127.0.0.1 for this machine only, 0.0.0.0 for all that can reach it.
        port: By default the first that is free from 7860 on.
        share: Also through a tunnel of gradio.live, for anyone who has the link, for a week.
        quiet: Print nothing.
    """
    with tempfile.TemporaryDirectory(prefix='fvq_demo_') as folder:
        prepare(folder)
        import gradio as gr
        from PIL import Image
        from starlette.middleware import Middleware

        from .guard import Guard
        from .page.page import Page
        from .page.theme import HERE, theme

        Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # gradio opens painted masks itself; PIL refuses twice as many
        blocks: gr.Blocks = Page(models).blocks
        blocks.queue(max_size=WAITING, default_concurrency_limit=4, api_open=False)
        options: dict[str, Any] = dict(
            server_name=host,
            server_port=port,
            share=share,
            quiet=quiet,
            theme=theme(),
            css_paths=[HERE / 'page.css'],
            show_error=False,
            allowed_paths=[],
            max_file_size=MAX_BYTES,
            state_session_capacity=SESSIONS,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            app_kwargs=dict(middleware=[Middleware(Guard, folder=folder)]),
            prevent_thread_lock=True,
        )
        _, local, shared = launched(blocks, **options)
        try:
            yield shared or local
        finally:
            blocks.close(verbose=False)


def launched(blocks: Any, **options: Any) -> Any:
    """What `blocks.launch` returns; raises if the page cannot be reached.

    Gradio gives up if its page does not answer it in three seconds, which a busy machine may need: it is asked again.
    """
    where = f'{options["server_name"]}:{options["server_port"] or "7860 to 7959"}'
    for _ in range(LAUNCHES):
        try:
            return blocks.launch(**options)
        except OSError as error:
            reason = 'the port is in use, or the address is not one of this machine'
            raise UserError(f'cannot listen at {where}: {reason}; choose another --port or --host.') from error
        except ValueError:
            blocks.close(verbose=False)
    raise UserError(f'the page at {where} does not answer: a proxy may stand in between; set no_proxy={LOCALHOST}.')


def serve(models: Models, host: str, port: int | None, share: bool) -> None:
    """Serve until the process is told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the temporary folder goes then too
    with served(models, host, port, share) as address:
        print(f'serving at {address}   (press Ctrl-C to stop)', flush=True)
        if host != LOCALHOST or share:
            print('other machines can reach this page, upload photos and run the models', flush=True)
        signal.pause()
