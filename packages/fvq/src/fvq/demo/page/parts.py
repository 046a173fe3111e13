"""The components that gradio does not have, and what a handler does with an error."""

from __future__ import annotations

import functools
import html
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from fvq_core.errors import UserError

HERE = Path(__file__).parent
MODEL = dict(
    concurrency_limit=1, concurrency_id='model'
)  # of every handler that runs a model: one at a time, the others wait
log = logging.getLogger('fvq.demo')


def board(elem_id: str, visible: bool = True) -> gr.HTML:
    """Where `fvq.demo.board.board` is drawn; its event `pick` has the `cell` that was clicked."""
    return custom('board', elem_id, visible)


def cloud(elem_id: str) -> gr.HTML:
    """Where `fvq.demo.codebook.cloud` is drawn; its event `pick` has the `code` that was clicked."""
    return custom('cloud', elem_id, True)


def thumbs(pictures: list[dict[str, str]], elem_id: str) -> gr.HTML:
    """Small pictures, `src` and `name` each; its event `pick` has the `index` of the one that was clicked."""
    return custom('thumbs', elem_id, bool(pictures), pictures)


def custom(name: str, elem_id: str, visible: bool, value: Any = None) -> gr.HTML:
    """An empty element that NAME.js fills from its value."""
    script = (HERE / f'{name}.js').read_text()
    template = f'<div class="fvq-{name}"></div>'
    place: Any = dict(elem_id=elem_id, elem_classes='fvq-html', visible=visible, apply_default_css=False)
    return gr.HTML(value, html_template=template, js_on_load=script, **place)


def notice(elem_id: str) -> gr.HTML:
    """The one line that says what went wrong."""
    return gr.HTML(visible=False, elem_id=elem_id, elem_classes='fvq-html')


def alert(text: str) -> Any:
    """A notice with a text of any origin."""
    return gr.update(value=f'<div class="fvq-notice" role="alert">{html.escape(text)}</div>', visible=True)


def error_line(error: Exception) -> str:
    """What the page says of an error; what is no fault of the user's goes to the log with its traceback."""
    if isinstance(error, UserError):
        return f'{str(error)[:1].upper()}{str(error)[1:]}'
    log.error('a handler of the page failed', exc_info=error)
    if isinstance(error, MemoryError) or 'out of memory' in str(error):
        return 'There is not enough memory for this; choose a smaller picture or fewer images.'
    return f'Something went wrong here ({type(error).__name__}); what it was is in the log of "fvq demo".'


def guarded(line: gr.HTML, handler: Callable[..., dict], always: dict | None = None) -> Callable[..., dict]:
    """A handler that returns new values by component, whose errors become the line and change nothing but `always`."""

    @functools.wraps(handler)
    def run(*values: Any) -> dict:
        try:
            return {line: gr.update(visible=False), **handler(*values)}
        except Exception as error:  # a page shows a line, whatever fails; `error_line` logs what is not the user's
            return {line: alert(error_line(error)), **(always or {})}

    return run


def guarded_steps(line: gr.HTML, handler: Callable[..., Iterator[dict]]) -> Callable[..., Iterator[dict]]:
    """The same for a handler that yields several times."""

    @functools.wraps(handler)
    def run(*values: Any) -> Iterator[dict]:
        try:
            for step in handler(*values):
                yield {line: gr.update(visible=False), **step}
        except Exception as error:  # a page shows a line, whatever fails; `error_line` logs what is not the user's
            yield {line: alert(error_line(error))}

    return run
