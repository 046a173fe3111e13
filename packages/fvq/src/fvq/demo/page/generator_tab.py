"""The tab of generators: classes and a seed in, images out, and photos of which a part is drawn again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from fvq_core.errors import UserError

from ..about import about_generator
from ..drawing import (
    MOST_IMAGES,
    PAINTED,
    draw,
    enlarged,
    fit_to,
    keep_part,
    painted_over,
    parse_classes,
    parts,
    why_not,
)
from ..models import Models
from ..settings_controls import Control, controls, given
from .parts import MODEL, guarded, guarded_steps, notice

NONE = (
    'No generator is loaded. Start the page with one, such as the one that `make sample` trains: '
    '`fvq demo --generators work_dirs/llamagen_photos/generator`.'
)
NOTHING = 'nothing'


class GeneratorTab:
    """Args:
    models: What can be chosen.
    photo: The state with the photo of the whole page, for in-painting.
    """

    def __init__(self, models: Models, photo: gr.State) -> None:
        names = [*models.generators]
        self.line = notice('fvq-generator-notice')
        if not names:
            gr.Markdown(NONE)
            return
        chosen = gr.Dropdown(names, value=names[0], label='Generator', visible=len(names) > 1)
        groups = []
        for number, name in enumerate(names):
            with gr.Column(visible=not number) as group:
                GeneratorPanel(models, name, photo, self.line)
            groups.append(group)
        chosen.input(
            lambda picked: [gr.update(visible=name == picked) for name in names],
            chosen,
            groups,
            api_visibility='private',
            show_progress='hidden',
        )


class GeneratorPanel:
    """What one generator is asked, and what it draws."""

    def __init__(self, models: Models, name: str, photo: gr.State, line: gr.HTML) -> None:
        self.model, self.line = models.generator(name), line
        gr.Markdown(f'{about_generator(self.model)}.')
        if reason := why_not(self.model):
            gr.Markdown(reason)
            return
        self.controls = controls(self.model.settings())
        self.parts = parts(self.model)
        last = self.model.num_classes - 1
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                self.classes = gr.Textbox(
                    '', label='Classes', placeholder='all in turn', info=f'0 to {last}, such as 3, 0 4 7 or 2-5'
                )
                self.count = gr.Slider(1, MOST_IMAGES, value=8, step=1, label='Images')
                self.seed = gr.Number(
                    0, precision=0, minimum=0, label='Seed', info='the same seed draws the same images'
                )
                self.part = gr.Radio(
                    [NOTHING, *self.parts],
                    value=NOTHING,
                    label='Keep of the photo',
                    visible=bool(self.parts),
                    info='the generator draws the rest of it again',
                )
                gr.Markdown(
                    'This generator draws whole images: it cannot keep a part of a photo.', visible=not self.parts
                )
                with gr.Row():
                    self.go = gr.Button('Draw', variant='primary')
                    self.stop = gr.Button('Stop')
                with gr.Accordion('Sampling', open=False):
                    self.settings = [component(each) for each in self.controls]
            with gr.Column(scale=2):
                self.mask = gr.ImageMask(
                    label='Paint over what is to be drawn again',
                    type='numpy',
                    visible=False,
                    sources=[],
                    brush=gr.Brush(default_size=40, colors=['#f97316'], color_mode='fixed'),
                    layers=False,
                    image_mode='RGBA',
                    buttons=[],
                )
                self.kept = gr.Image(label='What is kept', visible=False, interactive=False, buttons=[], height=220)
                self.images = gr.Gallery(label='Images', columns=4, object_fit='contain', height='auto', format='png')
        self.listen(name, photo)

    def listen(self, name: str, photo: gr.State) -> None:
        """Connect the events."""
        inputs = [photo, self.classes, self.count, self.seed, self.part, self.mask, *self.settings]
        outputs = [self.line, self.images, self.kept]
        drawing = self.go.click(
            guarded_steps(self.line, self.draw), inputs, outputs, api_name=re.sub(r'\W', '_', f'draw_{name}'), **MODEL
        )
        self.stop.click(None, cancels=[drawing], api_visibility='private')
        preview = guarded(self.line, self.preview)
        self.part.input(
            preview, [photo, self.part], [self.line, self.mask, self.kept], api_visibility='private', **MODEL
        )

    def preview(self, photo: np.ndarray | None, part: str) -> dict:
        """What a choice of a part leaves of the photo."""
        if part == NOTHING:
            return {self.mask: gr.update(visible=False), self.kept: gr.update(visible=False)}
        pixels = fit_to(self.model, given_photo(photo))
        if part == PAINTED:
            return {self.mask: gr.update(value=enlarged(pixels), visible=True), self.kept: gr.update(visible=False)}
        kept = keep_part(self.model, pixels, part)
        return {self.mask: gr.update(visible=False), self.kept: gr.update(value=kept.picture, visible=True)}

    def draw(
        self,
        photo: np.ndarray | None,
        classes: str,
        count: float,
        seed: float | None,
        part: str,
        mask: dict | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 gradio puts its own here, by the default
        *values: Any,
    ) -> Iterator[dict]:
        """Images, a few at a time."""
        if seed is None or seed < 0:
            raise UserError('the seed is a whole number from 0 on.')
        numbers = parse_classes(classes, self.model.num_classes)
        settings = given(self.controls, list(values))
        kept = None
        if part != NOTHING:
            pixels = fit_to(self.model, given_photo(photo))
            kept = keep_part(self.model, pixels, part, painting(mask, pixels) if part == PAINTED else None)
            yield {self.kept: gr.update(value=kept.picture, visible=part != PAINTED)}
        progress((0, int(count)), desc='Drawing', unit='images')
        for images in draw(self.model, numbers, int(count), int(seed), settings, kept):
            progress((len(images), int(count)), desc='Drawing', unit='images')
            yield {self.images: [(pixels, f'class {label}') for pixels, label in images]}


def given_photo(photo: np.ndarray | None) -> np.ndarray:
    """The photo itself; raises if there is none."""
    if photo is None:
        raise UserError('choose a photo first, on the left.')
    return photo


def painting(mask: dict | None, pixels: np.ndarray) -> np.ndarray:
    """What was painted over, bool (H, W); raises if nothing was."""
    layers = [np.asarray(layer) for layer in (mask or {}).get('layers') or []]
    return painted_over(layers, *pixels.shape[:2])


def component(control: Control) -> Any:
    """The component of a control."""
    common: dict[str, Any] = dict(value=control.value, label=control.label, info=control.help)
    if control.kind == 'checkbox':
        return gr.Checkbox(**common)
    if control.kind == 'choice':
        return gr.Dropdown(list(control.choices), **common)
    if control.kind == 'slider':
        return gr.Slider(control.low, control.high, **common)
    if control.kind == 'text':
        return gr.Textbox(**common)
    return gr.Number(precision=0 if control.kind == 'whole number' else None, **common)
