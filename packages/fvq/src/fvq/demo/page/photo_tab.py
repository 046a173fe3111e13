"""The tab of one photo: its pictures, the code at a position, and codes changed by hand."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from fvq_core.errors import UserError

from ..code_vectors import codebook_of, codebook_rows
from ..codebook import nearest
from ..edits import ERASE, EVERYWHERE, HERE, REPLACE, SWAP
from ..models import Models
from ..view import NO_CODES, View, open_view
from .parts import MODEL, board, guarded

KEPT_SECONDS = 3600  # of a user who does nothing


class PhotoTab:
    """Args:
    models: What can be chosen.
    line: Where errors are shown.
    """

    def __init__(self, models: Models, line: gr.HTML) -> None:
        self.models, self.line = models, line
        self.view = gr.State(None, time_to_live=KEPT_SECONDS)
        self.scores = gr.Markdown(elem_id='fvq-scores')
        self.plane = gr.Dropdown([('', 0)], value=0, label='Map of codes', visible=False, elem_id='fvq-plane')
        self.board = board('fvq-photo')
        self.cell = gr.Number(precision=0, visible=False)
        with gr.Column(visible=False) as self.position:
            self.found = gr.Markdown(elem_id='fvq-found')
            with gr.Row(equal_height=True):
                self.action = gr.Radio([REPLACE, ERASE, SWAP], value=REPLACE, label='Change it', scale=3)
                self.code = gr.Number(precision=0, minimum=0, label='With code', scale=1, min_width=110)
                self.where = gr.Radio([HERE, EVERYWHERE], value=HERE, label='Where', scale=2)
            with gr.Row():
                self.change = gr.Button('Change and decode', variant='primary', scale=2)
                self.undo = gr.Button('Undo', interactive=False)
                self.reset = gr.Button('Start over', interactive=False)
        self.edited = board('fvq-edited', visible=False)
        self.outputs = [line, self.view, self.scores, self.plane, self.board, self.cell, self.found, self.position]
        self.outputs += [self.action, self.code, self.where, self.edited, self.undo, self.reset]
        self.listen()

    def listen(self) -> None:
        """Connect the events."""
        looking = [self.view, self.plane]
        for each in (self.board, self.edited):
            each.pick(
                guarded(self.line, self.picked),
                looking,
                self.outputs,
                api_visibility='private',
                show_progress='hidden',
                **MODEL,
            )
        self.plane.input(guarded(self.line, self.choose_plane), looking, self.outputs, api_name='choose_map')
        self.cell.submit(
            guarded(self.line, self.look), [*looking, self.cell], self.outputs, api_name='look_up', **MODEL
        )
        self.action.input(
            self.ask, self.action, [self.code, self.where], api_visibility='private', show_progress='hidden'
        )
        changing = [*looking, self.cell, self.action, self.where, self.code]
        self.change.click(guarded(self.line, self.edit), changing, self.outputs, api_name='change', **MODEL)
        self.undo.click(guarded(self.line, self.undone), [*looking, self.cell], self.outputs, api_name='undo', **MODEL)
        self.reset.click(
            guarded(self.line, self.start_over), [*looking, self.cell], self.outputs, api_name='start_over', **MODEL
        )

    def show(self, photo: np.ndarray | None, tokenizer: str, longest: float) -> dict:
        """The pictures of a photo."""
        if photo is None:
            raise UserError('choose one of the photos, or drop one of your own.')
        view = open_view(tokenizer, self.models.tokenizer(tokenizer), photo, int(longest))
        last = len(view.planes) - 1
        choices = [(plane.name, number) for number, plane in enumerate(view.planes)]
        text = view.examined.scores()
        return {
            self.view: view,
            self.scores: text if view.planes else f'{text}. {NO_CODES}',
            self.plane: gr.update(choices=choices, value=last if choices else None, visible=last > 0),
            self.board: view.board(last),
            self.cell: None,
            self.position: gr.update(visible=False),
            **self.unedited(),
        }

    def unedited(self) -> dict:
        """How things look before a change."""
        off = gr.update(interactive=False)
        return {self.edited: gr.update(visible=False, value=None), self.undo: off, self.reset: off}

    def choose_plane(self, view: View | None, plane: int | None) -> dict:
        """Another map of the same codes."""
        view = opened(view)
        shown = {self.board: view.board(plane or 0), self.cell: None, self.position: gr.update(visible=False)}
        return shown

    def picked(self, view: View | None, plane: int | None, event: gr.EventData) -> dict:
        """A click on a picture."""
        return self.look(view, plane, event.cell)

    def look(self, view: View | None, plane: int | None, cell: float | None) -> dict:
        """The code at a position, and those like it."""
        view, number, place = opened(view), plane or 0, chosen(cell)
        text, codes = view.describe(number, place), self.similar(view, number, place)
        if codes:
            text += f' Codes most like it: {", ".join(f"{code:,}" for code in codes)}.'
        first = {self.code: gr.update(value=codes[0])} if codes else {}
        return {self.cell: place, self.found: text, self.position: gr.update(visible=True), **first}

    def similar(self, view: View, number: int, cell: int) -> list[int]:
        """The codes nearest to the one at a position; none if the codebook cannot say, or several codes make up a row."""
        plane, autoencoder = view.plane(number), self.models.tokenizer(view.tokenizer)
        try:
            codebook_KD = codebook_of(autoencoder.quantizer)
        except UserError:
            return []
        assert view.examined.codes is not None
        one_book = (
            len(codebook_KD) == plane.vocabulary
            and codebook_rows(autoencoder.quantizer, view.examined.codes) is not None
        )
        if not one_book:
            return []
        return nearest(codebook_KD, int(view.current[plane.places][cell]), 5)[0].tolist()

    def ask(self, action: str) -> tuple[Any, Any]:
        """What a kind of change needs to know."""
        return gr.update(visible=action != ERASE), gr.update(visible=action != SWAP)

    def edit(
        self, view: View | None, plane: int | None, cell: float | None, action: str, where: str, code: float | None
    ) -> dict:
        """One change."""
        return self.after(opened(view).edited(plane or 0, chosen(cell), action, where, code), plane, cell)

    def undone(self, view: View | None, plane: int | None, cell: float | None) -> dict:
        """The last change taken back."""
        return self.after(opened(view).undone(), plane, cell)

    def start_over(self, view: View | None, plane: int | None, cell: float | None) -> dict:
        """All changes taken back."""
        while opened(view).edits:
            view = opened(view).undone()
        return self.after(opened(view), plane, cell)

    def after(self, view: View, plane: int | None, cell: float | None) -> dict:
        """What is shown after a change."""
        shown = {self.view: view} if cell is None else {self.view: view, **self.look(view, plane, cell)}
        if not view.edits:
            return {**shown, **self.unedited()}
        picture = view.edited_board(self.models.tokenizer(view.tokenizer), plane or 0)
        on = gr.update(interactive=True)
        return {**shown, self.edited: gr.update(value=picture, visible=True), self.undo: on, self.reset: on}


def opened(view: View | None) -> View:
    """The view itself; raises if there is none (yet, or any more)."""
    if view is None:
        raise UserError('choose a photo first; after an hour without a click it is forgotten.')
    return view


def chosen(cell: float | None) -> int:
    """A position as a whole number."""
    if cell is None or isinstance(cell, bool) or not isinstance(cell, int | float) or cell != int(cell):
        raise UserError('click a position on one of the pictures first.')
    return int(cell)
