"""The tab of a codebook: its use, its codes in the plane, and those near one another."""

from __future__ import annotations

import gradio as gr
import numpy as np

from fvq_core.errors import UserError

from ..board import board as board_of
from ..board import panel
from ..code_vectors import codebook_of, name_of_row
from ..codebook import Survey, cloud, looks, nearest, survey, usage_svg
from ..models import Models
from .parts import MODEL, board, guarded, notice
from .parts import cloud as cloud_component

SIDE = 256  # of the photos whose codes are counted
NEAR = 7


class CodebookTab:
    """Args:
    models: What can be chosen.
    photos: Those whose codes are counted, uint8 (H, W, 3).
    tokenizer: The component that names the tokenizer.
    """

    def __init__(self, models: Models, photos: list[np.ndarray], tokenizer: gr.Dropdown) -> None:
        self.models, self.photos = models, photos
        self.surveys: dict[str, Survey] = {}  # of the models, not of users
        self.line = notice('fvq-codebook-notice')
        self.sentence = gr.Markdown(elem_id='fvq-usage-sentence')
        with gr.Row():
            with gr.Column():
                self.cloud = cloud_component('fvq-cloud')
            with gr.Column():
                self.usage = gr.HTML(elem_id='fvq-usage', apply_default_css=False)
                self.code = gr.Number(
                    0, precision=0, minimum=0, label='Codes most like code', visible=False, info='with their distances'
                )
                self.near = board('fvq-near')
                self.words = gr.Markdown()
        self.inputs, self.outputs = (
            [tokenizer],
            [self.line, self.sentence, self.cloud, self.usage, self.code, self.near, self.words],
        )
        seeing = [tokenizer, self.code]
        self.cloud.pick(guarded(self.line, self.picked), tokenizer, self.outputs, api_visibility='private', **MODEL)
        self.code.submit(guarded(self.line, self.neighbours), seeing, self.outputs, api_name='neighbours', **MODEL)

    def run(self):
        """The handler that surveys."""
        return guarded(self.line, self.survey)

    def survey(self, name: str) -> dict:
        """All of the tab."""
        autoencoder = self.models.tokenizer(name)
        nothing = {
            self.cloud: None,
            self.usage: '',
            self.code: gr.update(visible=False),
            self.near: None,
            self.words: '',
        }
        if autoencoder.quantizer is None:
            return {**nothing, self.sentence: 'This autoencoder is continuous: it has no codebook.'}
        if name not in self.surveys:
            try:
                self.surveys[name] = survey(autoencoder, self.photos, SIDE)
            except UserError as error:
                return {**nothing, self.sentence: f'{str(error)[0].upper()}{str(error)[1:]}'}
        found = self.surveys[name]
        counted = found.counts_K is not None and bool(self.photos)
        first = 0 if found.counts_K is None else middling(found.counts_K)
        return {
            self.sentence: found.sentence,
            self.cloud: cloud(found) | dict(counted=counted),
            self.usage: usage_svg(found.counts_K) if counted and found.counts_K is not None else '',
            **self.neighbours(name, first),
        }

    def picked(self, name: str, event: gr.EventData) -> dict:
        """A click on a code."""
        return self.neighbours(name, event.code)

    def neighbours(self, name: str, code: float | None) -> dict:
        """The codes nearest to one, as they look."""
        autoencoder = self.models.tokenizer(name)
        if not isinstance(code, int | float) or isinstance(code, bool) or code != int(code):
            raise UserError(f'codes are whole numbers, got {code!r}.')
        codebook_KD = codebook_of(autoencoder.require_quantizer('the codebook'))
        found, distances = nearest(codebook_KD, int(code), NEAR)
        sizes = autoencoder.quantizer.vocabularies
        rows = [int(code), *found.tolist()]
        names = [name_of_row(sizes, row, len(codebook_KD)) for row in rows]
        notes = ['', *(f'{distance:.2g}' for distance in distances)]
        pictures = looks(autoencoder, rows)
        shown = {self.code: gr.update(value=int(code), visible=True)}
        if pictures is None:
            lines = [f'{each}: {note or "this one"}' for each, note in zip(names, notes, strict=True)]
            text = 'Nearest by distance. One code is not all there is at a position here, so it has no picture of its own.\n\n'
            return {**shown, self.near: None, self.words: text + '\n'.join(f'- {line}' for line in lines)}
        panels = [
            panel(each, picture, note, crisp=True) for each, picture, note in zip(names, pictures, notes, strict=True)
        ]
        return {**shown, self.near: board_of(panels, columns=4), self.words: ''}


def middling(counts_K: np.ndarray) -> int:
    """A code in the middle of those that are used: more telling than the most frequent, which is often black."""
    used = np.flatnonzero(counts_K)
    return int(used[np.argsort(counts_K[used], kind='stable')[len(used) // 2]]) if len(used) else 0
