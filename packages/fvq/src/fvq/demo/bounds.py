"""What gradio's components take of strangers, bounded in their classes: gradio builds anew what a user sees changed."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError

MOST_LAYERS = 4  # of a painting; the page has one, and a browser sends each by itself
MOST_PAINTINGS = 64  # that were sent and not drawn with yet; the oldest makes room


@functools.cache
def bound_components() -> None:
    """Take what was uploaded, but no address that gradio would fetch a file from; and a painting, but not any number of layers.

    Without it a request of a few bytes, a layer with a large number, takes all memory there is.
    """
    from gradio.blocks import Block
    from gradio.components.base import server
    from gradio.components.image_editor import ImageEditor

    move, accept, read = Block.async_move_resource_to_block_cache, ImageEditor.accept_blobs, ImageEditor.preprocess

    async def moved(self: Any, path: Any) -> Any:
        if path is not None and not Path(str(path)).is_file():
            raise UserError('only files that were uploaded are taken.')
        return await move(self, path)

    def accepted(self: Any, data: Any) -> None:
        layer = data.data.get('index')
        if str(layer) not in ('', 'None', 'null', *map(str, range(MOST_LAYERS))):
            raise UserError(f'a painting has up to {MOST_LAYERS} layers, numbered from 0; got {layer!r:.20}.')
        while len(self.blob_storage) >= MOST_PAINTINGS and data.data.get('id') not in self.blob_storage:
            self.blob_storage.pop(next(iter(self.blob_storage)), None)
        accept(self, data)

    def preprocessed(self: Any, payload: Any) -> Any:
        if payload is not None and len(payload.layers) > MOST_LAYERS:
            raise UserError(f'a painting has up to {MOST_LAYERS} layers, got {len(payload.layers):,}.')
        return read(self, payload)

    Block.async_move_resource_to_block_cache = moved
    ImageEditor.accept_blobs = server(functools.wraps(accept)(accepted))
    ImageEditor.preprocess = preprocessed
