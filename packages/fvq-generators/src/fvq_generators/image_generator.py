"""A generator and its tokenizer as one: classes or captions in, images out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fvq_core.autoencoder import Autoencoder
from fvq_core.autoencoders import PixelAutoencoder
from fvq_core.codes import CodeLayout, Codes, LatentLayout, Latents
from fvq_core.errors import UserError, nearest_hint
from fvq_core.generator import Generator
from fvq_core.ops.finite import check_finite_images
from fvq_core.registry import MODELS, TOKENIZERS
from fvq_core.sampling_settings import SamplingSettings
from fvq_core.saving.kind import Provenance, SaveSpec
from fvq_core.saving.saved_model import SavedModel
from fvq_core.saving.weights import weights_digest

from .binding import bind_checked
from .class_numbers import whole_numbers
from .fingerprint import tokenizer_hash
from .inpainting import to_device
from .out_of_memory import memory_advice
from .pretrained import GENERATOR, TOKENIZER_FOLDER, checkpoint_generator, generator_save_spec, load_generator

PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
DECODED_AT_ONCE = 16  # images; a decoder needs far more memory for one than the codes do


@MODELS.register_module()
class ImageGenerator(SavedModel, nn.Module):
    """Draws codes or latents with a generator and decodes them with the autoencoder that they belong to.

    Args:
        generator: Built from a config.
        tokenizer: The one whose codes the generator has learned; without it there are codes but no images.
        expected_hash: Its fingerprint (`fvq_generators.fingerprint`); '' if it was not recorded, and then the
            tokenizer's own is kept.
        sampling: Settings of the generator's `sample` for callers that give none.
        facts: The digest of weights and what is known of them, which is saved again only with those weights.

    Raises:
        UserError: Another tokenizer, or one whose codes are arranged in another way; or settings that the generator does
            not have, or out of range.
    """

    saved_kind = GENERATOR

    def __init__(
        self,
        generator: Generator,
        tokenizer: Autoencoder | None = None,
        expected_hash: str = '',
        sampling: Mapping[str, Any] | None = None,
        facts: Provenance = (None, {}),
    ) -> None:
        super().__init__()
        self.generator = generator
        self.tokenizer: Autoencoder | None = None
        self.tokenizer_hash, self.sampling, self.loaded_facts = expected_hash, dict(sampling or {}), facts
        generator.Sampling.of(self.sampling)  # checked before they are saved
        self.rounded: tuple[str, str] | None = None  # digests of the weights after and before `load` changed their type
        if tokenizer is not None:
            self.attach(tokenizer)

    def attach(self, tokenizer: Autoencoder) -> None:
        """Use this tokenizer for decoding; raises if it is not the one whose codes the generator has learned."""
        given = tokenizer_hash(tokenizer)
        if self.tokenizer_hash and given != self.tokenizer_hash:
            raise UserError(
                f'the generator has learned codes of tokenizer {self.tokenizer_hash[:12]}, this is {given[:12]}: its codes '
                'mean other pixels. Use the tokenizer that its training codes were extracted with.'
            )
        folded = tokenizer.fold()
        bind_checked(self.generator, folded)
        self.tokenizer, self.tokenizer_hash = folded.to(self.device), given

    @property
    def device(self) -> torch.device:
        """The device of the generator's weights."""
        return next(self.generator.parameters()).device

    @property
    def num_classes(self) -> int:
        """Classes that it draws images of; raises if it draws from captions."""
        if self.generator.num_classes is None:
            raise UserError(f'this {type(self.generator).__name__} has no classes: its conditions are captions.')
        return self.generator.num_classes

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that it draws; it decodes one to find out."""
        layout = self.generator.layout
        if isinstance(layout, LatentLayout):
            drawn: Codes | Latents = Latents(torch.zeros(1, *layout.shape, device=self.device), layout)
        else:
            drawn = Codes(torch.zeros(1, layout.length, dtype=torch.int64, device=self.device), layout)
        with torch.no_grad():
            height, width = self._decode(drawn).shape[2:]
        return height, width

    def settings(self, **given: Any) -> SamplingSettings:
        """All settings of sampling: what is given and not None, else what was saved with the model, else the default."""
        given = {name: value for name, value in given.items() if value is not None}
        return self.generator.Sampling.of({**self.sampling, **given})

    def identity(self) -> dict[str, str]:
        """Digests that identify generator and tokenizer.

        Each call reads the weights that are there now, one or two seconds a gigabyte, whatever a file tells about them. On
        another device they are the same; if `load` changed their type, they are those that it found.
        """
        digest = self._digest()
        if self.rounded is not None and digest == self.rounded[0]:
            digest = self.rounded[1]
        return {'generator': digest, 'tokenizer': self.tokenizer_hash}

    def _digest(self) -> str:
        return weights_digest({key: value.detach().cpu() for key, value in self.generator.state_dict().items()})

    @torch.no_grad()
    def sample(
        self,
        classes: Sequence[int] | np.ndarray | Tensor,
        *,
        caption_mask_BT: Tensor | None = None,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        given: Codes | Latents | None = None,
        keep_BL: Tensor | None = None,
        order_BL: Tensor | None = None,
        compile: bool | str = False,
        **settings: Any,
    ) -> Tensor:
        """Images of classes, or of captions.

        Args:
            classes: One for each image; of a model of captions their features (B, T, C), float, padded on the left.
            caption_mask_BT: Of captions: bool, True for features, False for padding; without it all are features.
            rng: Gives the seeds if there are none; torch's own by default.
            seeds: One for each image; an image then depends on its seed and its condition, not on the others.
            given: Codes, or latents, of images to keep in part, such as `tokenizer.encode(images)`, for a generator that
                in-paints.
            keep_BL: bool (B, L), True for the given codes that are kept; the others are drawn.
            order_BL: The position of the code to draw at each number, (L,) or (B, L), for a generator that draws in any order.
            compile: Compile the generator's steps, if it can; see `CachedGenerator.sample`.
            settings: Fields of the generator's `Sampling`; what is not given is what was saved with the model.

        Returns:
            RGB float32 (B, 3, H, W) in [-1, 1]; for no classes (0, 3, H, W).

        Raises:
            UserError: No tokenizer, classes that are not whole numbers, or what the generator's `sample` raises.
        """
        if self.tokenizer is None:
            raise UserError(
                'this model was saved without its tokenizer; name that: from_pretrained(..., tokenizer=FOLDER), or the '
                'second argument of tools/sample.py.'
            )
        options = self.settings(**settings).to_dict()
        if caption_mask_BT is not None:
            options['caption_mask_BT'] = torch.as_tensor(caption_mask_BT)
        if compile:
            options['compile'] = compile
        if order_BL is not None:
            options['order_BL'] = torch.as_tensor(order_BL)
        cond = self._condition(classes)
        if given is not None or keep_BL is not None:
            kept: Any = given  # codes or latents, as the generator has them
            self.generator.check_given(kept, keep_BL, len(cond))
            assert given is not None
            assert keep_BL is not None
            options['given'] = to_device(given, self.device)
            options['keep_BL'] = keep_BL.to(self.device)
        drawn = self.generator.sample(cond, rng=rng, seeds=seeds, **options)
        if not len(drawn):
            return torch.zeros(0, 3, *self.image_size, device=self.device)
        starts = range(0, len(drawn), DECODED_AT_ONCE)
        return torch.cat([self._decode(drawn[start : start + DECODED_AT_ONCE]) for start in starts])

    def _condition(self, classes: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """Classes as int64 (B,), or caption features in the type of the weights."""
        if isinstance(classes, np.ndarray) and classes.dtype.kind not in 'biuf':
            raise UserError(f'sample: classes are whole numbers, got a NumPy array of {classes.dtype}.')
        if isinstance(classes, Tensor | np.ndarray):
            cond = torch.as_tensor(classes)
        else:
            cond = torch.tensor(whole_numbers(classes), dtype=torch.int64)
        if cond.dtype == torch.bool:
            raise UserError('sample: classes are whole numbers, got bool; a mask of captions is caption_mask_BT.')
        if cond.is_complex():
            raise UserError(f'sample: classes are whole numbers, got {cond.dtype}.')
        return cond.to(next(self.generator.parameters()).dtype if cond.is_floating_point() else torch.int64)

    def _decode(self, drawn: Codes | Latents) -> Tensor:
        tokenizer: Any = self.tokenizer
        with memory_advice(len(drawn), self.device, doing='decoding'):
            # Sums of codes that a generator of codes has mixed.
            smoothed = isinstance(drawn, Latents) and isinstance(self.generator.layout, CodeLayout)
            images = (tokenizer.decode_latent(drawn.values) if smoothed else tokenizer.decode(drawn)).float()
        cause = 'the tokenizer is broken, or overflows in this precision'
        check_finite_images(images, 'the pixels', len(images), cause)
        return images.clamp(-1.0, 1.0)

    def save_spec(self) -> SaveSpec:
        return generator_save_spec(
            self.generator,
            self.generator.state_dict(),
            self.tokenizer_hash,
            self.sampling,
            self.tokenizer,
            self.loaded_facts,
        )

    @classmethod
    def from_folder(  # pyrefly: ignore[bad-override]
        cls, folder: Path, tokenizer: Autoencoder | str | Path | None = None
    ) -> ImageGenerator:
        """The model of a folder.

        Args:
            folder: What `save_pretrained` wrote.
            tokenizer: The tokenizer, its folder or its repository, if none is saved with the generator.
        """
        generator, config = load_generator(folder)
        if tokenizer is None and (folder / TOKENIZER_FOLDER).is_dir():
            tokenizer = folder / TOKENIZER_FOLDER
        return cls._with_tokenizer(generator, config, tokenizer)

    @classmethod
    def load(
        cls,
        generator: str | Path,
        tokenizer: Autoencoder | str | Path | None = None,
        *,
        precision: Literal['float32', 'bfloat16'] = 'float32',
        weights: Literal['ema', 'raw'] | None = None,
    ) -> ImageGenerator:
        """A model from whatever there is of its parts, on the CPU: what the commands of FVQ call.

        Args:
            generator: A saved generator (a folder, or a repository on the hub), or a training run's `iter_N.pth`.
            tokenizer: Its tokenizer, or a folder or repository of it, if none is saved with the generator.
            precision: Precision of the generator's weights.
            weights: Weights of a checkpoint with a moving average to load; see `fvq_core.training.evaluation.load_task`.

        Raises:
            UserError: See `from_pretrained`; or `weights` of a saved generator, which has one kind.
        """
        if precision not in PRECISIONS:
            raise UserError(f"unknown precision '{precision}'; {nearest_hint(precision, PRECISIONS)}")
        if Path(generator).is_file():
            model = cls._with_tokenizer(*checkpoint_generator(generator, weights), tokenizer)
        elif weights is not None:
            raise UserError(f'{generator} is not a checkpoint and has one kind of weights; drop --weights {weights}.')
        else:
            model = cls.from_pretrained(generator, tokenizer=tokenizer)
        digest, facts = model.loaded_facts
        dtype = PRECISIONS[precision]
        rounds = any(
            value.is_floating_point() and value.dtype != dtype for value in model.generator.state_dict().values()
        )
        if digest is None or rounds:
            found = model._digest()
            model.loaded_facts = (digest or found, facts)
            model.generator.to(dtype)
            model.rounded = (model._digest(), found) if rounds else None
        return model.eval()

    @classmethod
    def _with_tokenizer(
        cls, generator: Generator, config: Mapping[str, Any], tokenizer: Autoencoder | str | Path | None
    ) -> ImageGenerator:
        """From a generator and its `config.json`."""
        if isinstance(tokenizer, str | Path):
            tokenizer = Autoencoder.from_pretrained(tokenizer)
        pixels = TOKENIZERS.build(dict(type=PixelAutoencoder))
        if tokenizer is None and config.get('tokenizer_hash') == tokenizer_hash(pixels):
            tokenizer = pixels  # which has no weights that a folder would have to hold
        facts = cls.saved_kind.facts(config)
        return cls(generator, tokenizer, config.get('tokenizer_hash', ''), config.get('sampling'), facts)
