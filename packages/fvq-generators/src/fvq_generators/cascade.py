"""Cascaded diffusion (CDM; Ho et al., 2022): a small image is drawn first, and others enlarge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from fvq_core.codes import Grid, LatentLayout, Latents, Targets
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.registry import GENERATORS
from fvq_core.sampling_settings import setting

from .checks import images_to_draw, latents_of, latents_to_learn
from .eval_mode import eval_mode
from .latent_diffusion import LatentDiffusion
from .out_of_memory import memory_advice
from .sampling import new_seeds
from .streams import Streams
from .super_resolution import SuperResolution, smaller
from .unet_diffusion import UNetDiffusion, small_arguments


@GENERATORS.register_module()
class Cascade(Generator):
    """A `UNetDiffusion` of small images, and a `SuperResolution` for each larger size.

    They share no weights, and each learns by its own loss from the same images, whose smaller versions are means of squares
    of pixels. One that is frozen (`model.freeze=['stage_32']`) is left out of training, so that stages can be trained on
    machines of their own.

    Args:
        layout: `LatentLayout` of the largest images, or its description: pixels.
        stages: From the smallest on. Of each `factor`, how many times smaller its sides are than the layout's, and what
            `UNetDiffusion` takes, or `SuperResolution` for all but the first; not layout and classes.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, in each stage on its own.

    Raises:
        UserError: A layout that it cannot model, sizes that do not grow to it, or what the stages raise.
    """

    position_kinds = (Grid,)
    layout: LatentLayout  # pyrefly: ignore[bad-override]

    @dataclass(frozen=True)
    class Sampling(LatentDiffusion.Sampling):
        """Those of each stage, and how much a stage doubts the one before."""

        augmentation: float = setting(
            0.1,
            'noise on the low-resolution image, as a share of the diffusion steps, in stages trained with such noise',
            least=0,
            most=0.99,
        )

    def __init__(
        self,
        layout: LatentLayout | Mapping[str, Any],
        stages: Sequence[Mapping[str, Any]],
        num_classes: int = 1000,
        cond_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layout = latents_of(self, layout)
        height, width = self.layout.positions.shape
        factors: list[Any] = [stage.get('factor') for stage in stages]
        whole = all(isinstance(f, int) and f > 0 and height % f == 0 and width % f == 0 for f in factors)
        if not whole or len(stages) < 2 or factors[-1] != 1 or factors != sorted(set(factors), reverse=True):
            raise UserError(
                f'Cascade: stages go from the smallest images to those of {height} x {width}, so factors are divisors that '
                f'fall to 1, such as 8, 4, 1; got {factors}.'
            )
        self.names: list[str] = []
        for number, stage in enumerate(stages):
            options = {key: value for key, value in stage.items() if key != 'factor'}
            grid = Grid(height // stage['factor'], width // stage['factor'])
            own = LatentLayout(grid, self.layout.channels, self.layout.scale, self.layout.shift)
            kind = SuperResolution if number else UNetDiffusion
            try:
                model = kind(own, **options, num_classes=num_classes, cond_dropout=cond_dropout)
            except TypeError as error:
                raise UserError(f'Cascade: stage {number}: {error}.') from error
            self.names.append(f'stage_{max(grid.shape)}')
            self.add_module(self.names[-1], model)
        self.blocks = tuple(block for stage in self.stages for block in stage.blocks)

    @property
    def stages(self) -> list[UNetDiffusion]:
        """From the smallest images to the largest."""
        return [cast(UNetDiffusion, getattr(self, name)) for name in self.names]

    @property
    def num_classes(self) -> int:  # pyrefly: ignore[bad-override]
        return self.stages[0].num_classes

    def check_condition(self, cond: Tensor) -> None:
        self.stages[0].check_condition(cond)

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        """The terms of each stage that is trained, by its size: `mse_32`, ...; see `LatentDiffusion.loss`.

        Args:
            targets: Latents: the largest images.
            cond: Classes (B,).

        Raises:
            UserError: No latents, latents of another layout, or classes that it does not have.
        """
        x = latents_to_learn(self, targets, cond).normalized().float()
        terms, before = {}, None
        for name, stage in zip(self.names, self.stages, strict=True):
            own = smaller(x, *stage.layout.positions.shape)
            if not self.training or any(parameter.requires_grad for parameter in stage.parameters()):
                given = cast(SuperResolution, stage).worse(before) if before is not None else ()
                losses = stage.losses(own, cond, *given)
                terms |= {f'{key}_{name.removeprefix("stage_")}': value for key, value in losses.items()}
            before = own
        return terms

    @torch.no_grad()
    def sample(  # pyrefly: ignore[bad-override]
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        **settings: Any,
    ) -> Latents:
        """Draw the largest images of each class, stage by stage; see `Generator.sample`.

        Raises:
            UserError: What `LatentDiffusion.sample` raises of any stage, before anything is drawn.
        """
        given = cast(Any, self.Sampling.of(settings)).to_dict()
        share = given.pop('augmentation')
        sampling = [stage.checked_sampling(given) for stage in self.stages]
        drop_rate = self.stages[0].condition.drop_rate
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling[0].cfg_scale, drop_rate)
        with eval_mode(self), memory_advice(len(cond), cond.device):
            x = self.stages[0].draw(cond, seeds, sampling[0])
            for stage, own in zip(self.stages[1:], sampling[1:], strict=True):
                # Streams of their own: the numbers that made the smaller image say nothing of the larger one.
                seeds = [new_seeds(1, torch.Generator().manual_seed(seed))[0] for seed in seeds]
                x = stage.draw(cond, seeds, own, *self.doubted(cast(SuperResolution, stage), x, seeds, share))
        return Latents(self.layout.denormalize(x), self.layout)

    def doubted(self, stage: SuperResolution, x: Tensor, seeds: Sequence[int], share: float) -> tuple[Tensor, Tensor]:
        """What a stage is given of the smaller images that were drawn; they are blurred in training only."""
        x = x.clamp(-1.0, 1.0) if stage.clip else x
        if stage.augmentation == 'blur' or not share:
            return x, torch.zeros(len(x), device=x.device)
        assert stage.process is not None
        level_B = torch.full((len(x),), round(share * (stage.process.steps - 1)), device=x.device)
        seeds = [new_seeds(1, torch.Generator().manual_seed(seed + 1))[0] for seed in seeds]
        return stage.noised(x, level_B, Streams(seeds, x.device).normal(*x.shape[1:]))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two levels of 16 channels and 20 steps in each stage; images of 64 x 64 pixels."""
        stages = [
            dict(stage, steps=20, arguments=small_arguments(dict(stage.get('arguments') or {})))
            for stage in cfg['stages']
        ]
        return dict(layout=dict(type='Grid', height=64, width=64, channels=3), stages=stages)

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """Pixels as they are."""
        return dict(type='PixelAutoencoder')
