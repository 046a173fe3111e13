"""The contract of generators: models of codes or of continuous latents, which never see a tokenizer's pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from .codes import CodeLayout, Codes, LatentLayout, Latents, Positions, Targets, check_is_codes
from .errors import UserError
from .images import device_images
from .quantizer import Quantizer
from .sampling_settings import SamplingSettings

if TYPE_CHECKING:
    from .autoencoder import Autoencoder


class Generator(nn.Module):
    """A conditional model of codes or of continuous latents.

    Attributes:
        Sampling: The settings of `sample`: a frozen dataclass, from which the options of `tools/sample.py`, what may be
            saved, and the model card are derived.
        position_kinds: The kinds of positions it can model.
        takes_slots: Whether it models several codes a position.
        inpaints: Whether `sample` takes `given` codes and which of them to keep.
        likelihood: Whether the loss `cross_entropy`, in eval mode, is the mean negative log-likelihood of a code, in nats.
        binds_to: The protocol that it needs the quantizer to follow, such as `fvq_core.quantizer.NextScale`; None if it needs
            only codes. `bind_checked` (`fvq_generators.binding`) checks it, and training requires a tokenizer if it is set.
        layout: What this one models: codes, or continuous latents.
        num_classes: Its classes; None if its conditions are captions.
        caption_shape: Feature vectors T and channels C of its captions; None if its conditions are classes.
        blocks: Its parts that are alike: each is compiled, and with FSDP2 they are gathered one after the other.
    """

    Sampling: ClassVar[type[SamplingSettings]] = SamplingSettings
    position_kinds: ClassVar[tuple[type[Positions], ...]] = ()
    takes_slots: ClassVar[bool] = False
    inpaints: ClassVar[bool] = False
    likelihood: bool = False
    binds_to: ClassVar[type | None] = None
    layout: CodeLayout | LatentLayout
    num_classes: int | None
    caption_shape: tuple[int, int] | None = None
    blocks: nn.ModuleList | tuple[nn.Module, ...]
    bound: Quantizer | None = None

    def __init__(self) -> None:
        super().__init__()
        self.blocks = ()

    def bind(self, quantizer: Quantizer) -> None:
        """Receive the quantizer of the tokenizer whose codes it models: called before training and before sampling.

        A VAR reads the running sums of its scales (`fvq_core.quantizer.NextScale`), an RQ-Transformer the embeddings of its
        depths (`DepthCodes`). If `binds_to` is set, it is kept as `quantizer`, out of the state dict, for the tokenizer is
        saved beside the generator; its owner moves it between devices.

        Args:
            quantizer: Folded, in eval mode, and an instance of `binds_to`.
        """
        if self.binds_to is not None:
            object.__setattr__(self, 'bound', quantizer)  # out of the module tree

    @property
    def quantizer(self) -> Any:
        """The quantizer that it is bound to; raises if it is bound to none."""
        if self.bound is None:
            raise UserError(
                f'{type(self).__name__} needs the quantizer of its tokenizer; sample through ImageGenerator with the '
                'tokenizer, train with model.tokenizer, or call bind(tokenizer.fold().quantizer).'
            )
        return self.bound

    @torch.no_grad()
    def targets(self, batch: Mapping[str, Any], autoencoder: Autoencoder | None = None) -> Targets:
        """What to learn from a batch, on the generator's device: for models of codes `codes` (B, L) and optionally `soft`
        (B, L, V), for models of latents `latents`; or either from uint8 `images`, by the autoencoder's `encode` or `latents`.

        Override it for other targets, such as a draw of latents or of stochastic codes at each step.

        Args:
            batch: What the data set collates.
            autoencoder: That of the task, folded and frozen; None if it was given none.
        """
        device = next(self.parameters()).device
        name = 'latents' if isinstance(self.layout, LatentLayout) else 'codes'
        values, images = batch.get(name), batch.get('images')
        if values is None and images is not None and autoencoder is not None:
            encode = autoencoder.latents if name == 'latents' else autoencoder.encode
            encoded = encode(device_images(batch, device))
            if encoded.layout != self.layout:
                raise UserError(
                    f'{type(self).__name__}: these images are encoded to {encoded.layout}, the model is made for '
                    f'{self.layout}; change the crop or model.generator.layout.'
                )
            return Targets(latents=encoded) if isinstance(encoded, Latents) else Targets(encoded)
        if values is None:
            hint = '; set model.tokenizer to encode its images' if images is not None else ''
            raise UserError(f"{type(self).__name__}: the batch has no '{name}', its keys are {', '.join(batch)}{hint}.")
        if isinstance(self.layout, LatentLayout):
            return Targets(latents=Latents(values.to(device, non_blocking=True), self.layout))
        soft_BLV = batch.get('soft')
        if not values.is_cuda:  # before it is on its way: looking at it there would wait for the device
            self.layout.check(values)
        codes = Codes(values.to(device, non_blocking=True), self.layout)
        return Targets(codes, None if soft_BLV is None else soft_BLV.to(device, non_blocking=True))

    def check_condition(self, cond: Tensor) -> None:
        """Raise if conditions are not of the kind that it knows."""
        raise NotImplementedError

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        """Training loss terms by name, for targets and one condition each (B, ...).

        A generator of captions takes their mask, bool (B, T), and a weight of each image (B,) too; None if there is none.
        """
        raise NotImplementedError

    def forward(self, *batch: Any) -> dict[str, Tensor]:
        """`loss`: so that what wraps the module for many devices sees the training pass."""
        return self.loss(*batch)

    def sample(
        self, cond: Tensor, *, rng: torch.Generator | None = None, seeds: Sequence[int] | None = None, **settings: Any
    ) -> Codes | Latents:
        """Draw codes, or latents, for each condition.

        Args:
            cond: Conditions (B, ...).
            rng: Gives the seeds if there are none; torch's own by default.
            seeds: One for each condition. A sample then depends on its seed and condition, not on the others of its batch.
            settings: Fields of `Sampling`; a generator of captions takes `caption_mask_BT`, bool (B, T), too, and one that
                can compile its steps takes `compile`. One that in-paints takes `given` and `keep_BL`; see `check_given`.
        """
        raise NotImplementedError

    def check_given(self, given: Codes | None, keep_BL: Tensor | None, count: int) -> None:
        """Raise if what is to be kept while the others are drawn does not fit.

        Args:
            given: Codes of this generator's layout, one image for each of `count` conditions; None to draw all.
            keep_BL: bool (B, L), True for those that are kept.
        """
        name = type(self).__name__
        if given is None and keep_BL is None:
            return
        if not self.inpaints:
            raise UserError(
                f'{name}: draws all codes of an image, and cannot keep given ones; leave out given and keep_BL.'
            )
        check_is_codes(name, given)
        assert given is not None
        if given.layout != self.layout or len(given) != count:
            raise UserError(
                f'{name}: expected given codes of {count} images on {self.layout}, got {len(given)} on {given.layout}.'
            )
        shape = tuple(given.indices_BL.shape)
        if not isinstance(keep_BL, Tensor) or keep_BL.dtype != torch.bool or tuple(keep_BL.shape) != shape:
            got = f'{keep_BL.dtype} {tuple(keep_BL.shape)}' if isinstance(keep_BL, Tensor) else type(keep_BL).__name__
            raise UserError(
                f'{name}: keep_BL is a bool tensor {shape}, True for the given codes that are kept, got {got}.'
            )
        given.layout.check(given.indices_BL)

    @classmethod
    def check_layout(cls, layout: CodeLayout | LatentLayout) -> None:
        """Raise if this generator cannot model a layout."""
        several = isinstance(layout, CodeLayout) and layout.slots > 1
        if not isinstance(layout.positions, cls.position_kinds) or (several and not cls.takes_slots):
            takes = ' or '.join(known.__name__ for known in cls.position_kinds)
            slots = '' if cls.takes_slots else ' with one code a position'
            raise UserError(f'{cls.__name__} takes a {takes}{slots}, got {layout}.')
