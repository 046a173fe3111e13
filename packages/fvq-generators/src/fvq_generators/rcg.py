"""RCG (Li et al., 2024, "Return of unconditional generation"): a representation is drawn first, and then codes that fit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Codes, Grid, Latents, Targets
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.registry import GENERATORS, describe
from fvq_core.sampling_settings import setting

from .checks import images_to_draw, layout_of
from .mage import MAGE
from .masked.mage_settings import MAGESampling
from .representation_diffusion import STEPS, RepresentationDiffusion
from .sampling import new_seeds

OWN = ('representation_steps', 'eta')  # settings of the first of the two


@GENERATORS.register_module()
class RCG(Generator):
    """`RepresentationDiffusion` and `MAGE` as one generator of codes, by class or of all images alike.

    They share no weights and are trained side by side, each by its own loss; `model.freeze` leaves one of them as it is. In a
    batch the representations are `captions` of one vector, see `CaptionedCodes`.

    Args:
        layout: Of the codes, see `MAGE`.
        representation: Config of a `RepresentationDiffusion` without layout.
        mage: Config of a `MAGE` without layout and channels.
        channels: Channels of a representation; 256 of MoCo v3's projection head.

    Raises:
        UserError: What the two raise.
    """

    position_kinds = (Grid, CodeSequence)
    inpaints = True
    layout: CodeLayout  # pyrefly: ignore[bad-override]

    @dataclass(frozen=True)
    class Sampling(MAGESampling):
        """Those of `MAGE`, and the steps in which representations are drawn."""

        representation_steps: int = setting(
            0, f'sampling steps of the representation; 0: {STEPS}, or those of training if fewer', least=1, also=(0,)
        )
        eta: float = setting(
            1.0, 'eta of DDIM in these steps: 0 deterministic, 1 adds as much noise as DDPM', least=0, most=1
        )

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        representation: Mapping[str, Any],
        mage: Mapping[str, Any],
        channels: int = 256,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        vector = dict(type='Sequence', length=1, channels=channels, scale=1.0, shift=0.0)
        self.representation: RepresentationDiffusion = GENERATORS.build(representation, layout=vector)
        self.mage: MAGE = GENERATORS.build(mage, layout=self.layout, channels=channels)
        self.blocks = (*self.representation.blocks, *self.mage.blocks)

    @classmethod
    def of(cls, representation: RepresentationDiffusion, mage: MAGE) -> RCG:
        """The two as one, with their weights: of a release, or trained apart.

        Raises:
            UserError: Representations of another length than MAGE looks at.
        """
        channels = mage.condition.channels
        if representation.layout.channels != channels:
            raise UserError(
                f'RCG: the representations that are drawn have {representation.layout.channels} channels, those that MAGE '
                f'looks at {channels}; take two that were trained with the same encoder.'
            )
        parts: dict[str, Generator] = dict(representation=representation, mage=mage)
        configs = {
            name: {key: value for key, value in describe(part).items() if key not in ('layout', 'channels')}
            for name, part in parts.items()
        }
        layout = mage.layout.to_dict()
        model: RCG = GENERATORS.build(dict(type=cls.__name__, layout=layout, channels=channels, **configs))
        for name, part in parts.items():
            getattr(model, name).load_state_dict(part.state_dict())
        return model

    @property
    def num_classes(self) -> int:  # pyrefly: ignore[bad-override]
        return self.representation.num_classes

    def check_condition(self, cond: Tensor) -> None:
        self.representation.check_condition(cond)

    @torch.no_grad()
    def targets(self, batch: Mapping[str, Any], autoencoder: Autoencoder | None = None) -> Targets:
        """As `Generator.targets`, with the representations, `captions` (B, 1, C), as latents of one position."""
        targets, features = super().targets(batch, autoencoder), batch.get('captions')
        if features is None:
            raise UserError(
                f"RCG: the batch has no 'captions' with the images' representations, its keys are {', '.join(batch)}; "
                'train on CaptionedCodes.'
            )
        values = features.to(next(self.parameters()).device, non_blocking=True).float().transpose(1, 2)
        return replace(targets, latents=Latents(values, self.representation.layout))

    def loss(
        self, targets: Targets, cond: Tensor, caption_mask_BT: Tensor | None = None, valid_B: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`cross_entropy` of MAGE and `mse` of the representations.

        Args:
            targets: Codes, and the representations as latents.
            cond: Classes (B,).
            caption_mask_BT: See `MAGE.loss`.
            valid_B: Weight of each image.

        Raises:
            UserError: One of the two is missing or does not fit.
        """
        if not isinstance(targets, Targets) or targets.latents is None:
            raise UserError('RCG: learns codes and representations, got no representations; give both to Targets.')
        vectors_BC = targets.latents.values.flatten(1)
        codes = self.mage.loss(targets, vectors_BC, caption_mask_BT, valid_B)
        return {**codes, **self.representation.loss(targets, cond, valid_B)}

    @torch.no_grad()
    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        given: Codes | None = None,
        keep_BL: Tensor | None = None,
        **settings: Any,
    ) -> Codes:
        """Draw codes for each class; see `Generator.sample`, and `MAGE.sample` for `given`.

        Raises:
            UserError: What the two raise, before anything is drawn.
        """
        sampling = cast(Any, self.Sampling.of(settings))
        self.mage.plan(sampling)
        drop_rate = self.mage.condition.drop_rate
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling.cfg_scale, drop_rate, given, keep_BL)
        of_mage = {name: value for name, value in sampling.to_dict().items() if name not in OWN}
        drawn = self.representation.sample(
            cond, seeds=seeds, steps=sampling.representation_steps, eta=sampling.eta
        ).values.flatten(1)
        # Streams of their own: the numbers that made a representation say nothing of its codes.
        others = [new_seeds(1, torch.Generator().manual_seed(seed))[0] for seed in seeds]
        return self.mage.sample(drawn, seeds=others, given=given, keep_BL=keep_BL, **of_mage)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """4x4 codes of 64; the two shrink themselves, and representations have as many channels as before."""
        return dict(layout=dict(type='Grid', height=4, width=4, codebook_size=64))
