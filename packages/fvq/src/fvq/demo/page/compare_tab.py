"""The tab of two tokenizers side by side."""

from __future__ import annotations

import gradio as gr
import numpy as np

from fvq_core.errors import UserError

from ..comparison import compare, table
from ..models import Models
from .parts import MODEL, board, guarded, notice

ONE = 'Only one tokenizer is loaded. Start the page with two to compare them: `fvq demo FIRST SECOND`.'
FROM_HUB = f'{ONE[:-1]}, or load one from the hub on the left.'


class CompareTab:
    """Args:
    models: What can be chosen.
    photo, tokenizer, longest: The components of the whole page: what is compared.
    """

    def __init__(self, models: Models, photo: gr.State, tokenizer: gr.Dropdown, longest: gr.Slider) -> None:
        self.models = models
        several = len(models.names) > 1 or models.from_hub
        self.hint = gr.Markdown(FROM_HUB if models.from_hub else ONE, visible=len(models.names) < 2)
        self.line = notice('fvq-compare-notice')
        other = models.names[1] if len(models.names) > 1 else None
        self.beside = gr.Dropdown(models.names, value=other, label='Beside it', visible=several, elem_id='fvq-beside')
        self.table = gr.Markdown(elem_id='fvq-table')
        self.board = board('fvq-comparison')
        self.inputs, self.outputs = (
            [photo, tokenizer, self.beside, longest],
            [self.line, self.hint, self.table, self.board],
        )
        self.beside.input(self.run(), self.inputs, self.outputs, api_name='compare', **MODEL)

    def run(self):
        """The handler that compares."""
        return guarded(self.line, self.compare)

    def compare(self, photo: np.ndarray | None, one: str, other: str | None, longest: float) -> dict:
        """A photo through both."""
        if len(self.models.names) < 2:
            return {}
        if photo is None:
            raise UserError('choose one of the photos, or drop one of your own.')
        if other is None or other == one:
            raise UserError('choose another tokenizer to stand beside the first.')
        both = {name: self.models.tokenizer(name) for name in (one, other)}
        found, rows = compare(photo, both, int(longest))
        return {self.hint: gr.update(visible=False), self.table: table(rows), self.board: found}
