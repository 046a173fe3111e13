"""The whole page: a photo and a tokenizer on the left, what is made of them in tabs on the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from fvq_core.data.photos import load_photos

from ..about import about_tokenizer
from ..board import png
from ..bounds import bound_components
from ..models import Models
from ..uploads import MAX_BYTES, MAX_PIXELS, read_photo
from .codebook_tab import CodebookTab
from .compare_tab import CompareTab
from .generator_tab import GeneratorTab
from .parts import MODEL, guarded, notice, thumbs
from .photo_tab import KEPT_SECONDS, PhotoTab

TITLE = 'FVQ: look into image tokenizers'
FILES = ['image', '.heic', '.heif', '.avif', '.tif', '.tiff', '.bmp', '.ppm']
PHOTO, COMPARE, GENERATOR, CODEBOOK = 'photo', 'compare', 'generator', 'codebook'
THUMB = 96
LIMITS = (
    f'Up to {MAX_BYTES // 2**20} MiB and {MAX_PIXELS // 10**6} megapixels; your photos are forgotten when you leave.'
)


class Page:
    """The page of some models.

    Attributes:
        blocks: What gradio serves.
    """

    def __init__(self, models: Models) -> None:
        bound_components()
        self.models, self.photos = models, bundled()
        with gr.Blocks(
            title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=(600, KEPT_SECONDS)
        ) as self.blocks:
            gr.HTML(
                f'<h1>{TITLE}</h1><p>What does a tokenizer keep of a photo, and which code stands where?</p>',
                elem_id='fvq-title',
                elem_classes='fvq-html',
            )
            self.photo = gr.State(None, time_to_live=KEPT_SECONDS)
            self.active = gr.State(PHOTO)
            with gr.Row():
                with gr.Column(scale=1, min_width=260):
                    self.sidebar()
                with gr.Column(scale=5):
                    self.line = notice('fvq-notice')
                    self.tabs()
            self.listen()

    def sidebar(self) -> None:
        """What holds for all tabs."""
        self.upload = gr.File(
            label='Drop a photo', file_types=FILES, height=130, show_label=False, elem_id='fvq-upload'
        )
        shown = {name: ImageOps.fit(Image.fromarray(photo), (THUMB, THUMB)) for name, photo in self.photos.items()}
        small = [dict(src=png(np.asarray(image)), name=name) for name, image in shown.items()]
        self.thumbs = thumbs(small, 'fvq-thumbs')
        names = self.models.names
        self.tokenizer = gr.Dropdown(names, value=names[0], label='Tokenizer', elem_id='fvq-tokenizer')
        self.about = gr.Markdown(f'{about_tokenizer(self.models.tokenizer(names[0]))}.', elem_id='fvq-about')
        with gr.Accordion('Another tokenizer from the Hugging Face hub', open=False, visible=self.models.from_hub):
            self.repository = gr.Textbox(placeholder='user/name', show_label=False, max_length=200)
            self.load = gr.Button('Load it')
        self.longest = gr.Slider(64, 1024, value=256, step=32, label='Longest side', info='in pixels')
        gr.Markdown(LIMITS, elem_id='fvq-limits')

    def tabs(self) -> None:
        """One tab for each thing to do."""
        with gr.Tab('Photo', id=PHOTO) as photo:
            self.photo_tab = PhotoTab(self.models, self.line)
        with gr.Tab('Compare', id=COMPARE) as compare:
            self.compare_tab = CompareTab(self.models, self.photo, self.tokenizer, self.longest)
        with gr.Tab('Generate', id=GENERATOR) as generator:
            GeneratorTab(self.models, self.photo)
        with gr.Tab('Codebook', id=CODEBOOK) as codebook:
            self.codebook_tab = CodebookTab(self.models, [*self.photos.values()], self.tokenizer)
        for name, tab in ((PHOTO, photo), (GENERATOR, generator)):
            tab.select(lambda name=name: name, None, self.active, api_visibility='private', show_progress='hidden')
        for name, tab, shown in ((COMPARE, compare, self.compare_tab), (CODEBOOK, codebook, self.codebook_tab)):
            selected = tab.select(
                lambda name=name: name, None, self.active, api_visibility='private', show_progress='hidden'
            )
            selected.then(shown.run(), shown.inputs, shown.outputs, api_visibility='private', **MODEL)

    def listen(self) -> None:
        """Connect the events of the sidebar."""
        picture = [self.photo, self.tokenizer, self.longest]
        shown = [*self.photo_tab.outputs, self.photo, self.upload, self.about]
        loaded = [*shown, self.tokenizer, self.compare_tab.beside, self.repository]

        def on(event: Any, handler: Any, inputs: list[Any], outputs: list[Any], **options: Any) -> None:
            """A change of the photo or of the tokenizer: first the photo's tab, then the one that is open."""
            done = event(guarded(self.line, handler, {self.upload: None}), inputs, outputs, **options, **MODEL)
            done.then(
                guarded(self.compare_tab.line, self.compare_if_open),
                [self.active, *self.compare_tab.inputs],
                self.compare_tab.outputs,
                api_visibility='private',
                **MODEL,
            )
            if handler in (self.choose, self.load_from_hub):
                done.then(
                    guarded(self.codebook_tab.line, self.survey_if_open),
                    [self.active, *self.codebook_tab.inputs],
                    self.codebook_tab.outputs,
                    api_visibility='private',
                    **MODEL,
                )

        on(self.upload.upload, self.open_upload, [self.upload, *picture[1:]], shown, api_name='open')
        on(self.thumbs.pick, self.open_bundled, picture[1:], shown, api_visibility='private')
        on(self.tokenizer.input, self.choose, picture, shown, api_name='choose')
        on(self.longest.release, self.choose, picture, shown, api_visibility='private')
        for event in (self.load.click, self.repository.submit):
            on(event, self.load_from_hub, [self.repository, self.photo, self.longest], loaded, api_visibility='private')
        self.blocks.load(guarded(self.line, self.first), picture[1:], shown, api_visibility='private', **MODEL)

    def show(self, photo: np.ndarray | None, tokenizer: str, longest: float) -> dict:
        """A photo through a tokenizer."""
        about = f'{about_tokenizer(self.models.tokenizer(tokenizer))}.'
        return {**self.photo_tab.show(photo, tokenizer, longest), self.photo: photo, self.about: about}

    def open_upload(self, path: str | None, tokenizer: str, longest: float) -> dict:
        """A file that was dropped; it is deleted as soon as it is read."""
        if path is None:
            return {}
        try:
            photo = read_photo(path)
        finally:
            Path(path).unlink(missing_ok=True)
        return {**self.show(photo, tokenizer, longest), self.upload: None}

    def open_bundled(self, tokenizer: str, longest: float, event: gr.EventData) -> dict:
        """One of the bundled photos."""
        photos = [*self.photos.values()]
        return self.show(photos[int(event.index) % len(photos)], tokenizer, longest)

    def choose(self, photo: np.ndarray | None, tokenizer: str, longest: float) -> dict:
        """Another tokenizer, or another size."""
        if photo is None:
            return {self.about: f'{about_tokenizer(self.models.tokenizer(tokenizer))}.'}
        return self.show(photo, tokenizer, longest)

    def first(self, tokenizer: str, longest: float) -> dict:
        """What is there when the page opens."""
        return self.show(next(iter(self.photos.values())), tokenizer, longest) if self.photos else {}

    def load_from_hub(self, repository: str, photo: np.ndarray | None, longest: float) -> dict:
        """A tokenizer that a user has asked for."""
        name = self.models.add(repository)
        names = self.models.names
        added = {
            self.tokenizer: gr.update(choices=names, value=name),
            self.compare_tab.beside: gr.update(choices=names),
        }
        return {**self.choose(photo, name, longest), **added, self.repository: ''}

    def compare_if_open(self, active: str, *values: Any) -> dict:
        """The comparison follows the photo only while it is seen."""
        return self.compare_tab.compare(*values) if active == COMPARE else {}

    def survey_if_open(self, active: str, *values: Any) -> dict:
        """And so does the codebook."""
        return self.codebook_tab.survey(*values) if active == CODEBOOK else {}


def bundled() -> dict[str, np.ndarray]:
    """The bundled photos by name, uint8 (H, W, 3)."""
    return load_photos()
