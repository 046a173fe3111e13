"""A frozen network of timm, by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ...errors import UserError, nearest_hint
from ...files.hash import file_sha256
from ...saving.weights import load_weights
from .frozen_network import FrozenNetwork
from .weights import MissingWeightsError, load_tensors

SEED = 0  # of random weights


class TimmNetwork(FrozenNetwork):
    """What `ViTFeatures` and `StageFeatures` share: weights, and images in [-1, 1] normalised as the network was trained.

    A subclass calls `create`, makes of the network what it needs, and calls `fill`.

    Attributes:
        name: `model` without what follows its dot, and without what tells the size of images: which network it is.
    """

    mean_1C11: Tensor
    std_1C11: Tensor

    def create(
        self,
        build: Callable[[str, torch.device, bool, Mapping[str, Any]], Any],
        model: str,
        weights: str | Path | None,
        random: bool,
        options: Mapping[str, Any] | None,
    ) -> Any:
        """The network, with timm's weights if they are `'pretrained'`, and random ones otherwise.

        Args:
            build: Makes it of its name, a device, whether with timm's weights, and `options`.
        """
        owner, device = type(self).__name__, torch.get_default_device()
        if random and weights is not None:
            raise UserError(f'{owner}: random=True contradicts weights={str(weights)!r}; leave one of them out.')
        loads = device.type != 'meta' and not random
        if loads and weights is None:
            raise MissingWeightsError(
                f"{owner}: give the file of {model}'s weights as `weights`; 'pretrained' lets timm download them."
            )
        return build(model, device, loads and weights == 'pretrained', options or {})

    def fill(self, model: str, weights: str | Path | None, random: bool) -> None:
        """Load the weights that are asked for, and freeze the network."""
        self.name, device = network_name(model), torch.get_default_device()
        self.provenance = f'{model}, no weights, on the meta device'
        if device.type != 'meta':
            self.provenance = f'{model}, {self.fill_random() if random else self.fill_trained(weights)}'
        trained_with = cast(Any, self.net).pretrained_cfg
        for key in ('mean', 'std'):
            values = torch.tensor(trained_with[key], device='cpu').view(1, 3, 1, 1)
            self.register_buffer(f'{key}_1C11', values)
        self.requires_grad_(False).eval().to(device)

    def fill_random(self) -> str:
        with torch.no_grad():
            for name, parameter in self.net.named_parameters():
                if name.endswith('gamma'):
                    parameter.fill_(1.0)  # at their start, nothing would come of the blocks
        return f'random weights, seed {SEED}: not trained'

    def fill_trained(self, weights: str | Path | None) -> str:
        if weights == 'pretrained':
            return "timm's weights"
        path = Path(str(weights)).expanduser()
        if not path.is_file():
            raise MissingWeightsError(f'{type(self).__name__}: {path} does not exist; give the file of the weights.')
        load_weights(self.net, self.own_weights(load_tensors(path)), str(path))
        return f'{path.name}, sha256 {file_sha256(path)[:8]}'

    def own_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a file that are the network's, by its names."""
        raise NotImplementedError

    def normalized(self, images_BCHW: Tensor) -> Tensor:
        return ((images_BCHW + 1) / 2 - self.mean_1C11) / self.std_1C11

    def train(self, mode: bool = True) -> TimmNetwork:
        """Stays in eval mode."""
        return super().train(False)

    def extra_repr(self) -> str:
        return self.provenance


def build_network(
    owner: str, kind: str, model: str, device: torch.device, pretrained: bool, options: Mapping[str, Any]
) -> Any:
    """timm's network without a classifier, its random weights from the fixed seed; raises on behalf of `owner`."""
    import timm  # takes seconds

    if not timm.is_model(model):
        raise UserError(f"{owner}: timm has no network '{model}'; {nearest_hint(model, timm.list_models())}")
    try:
        with torch.random.fork_rng(devices=[]), torch.device('meta' if device.type == 'meta' else 'cpu'):
            torch.default_generator.manual_seed(SEED)  # `torch.manual_seed` would seed GPUs too
            return timm.create_model(model, pretrained=pretrained, num_classes=0, **options)
    except TypeError as error:
        raise UserError(f'{owner}: {model} is no {kind} ({error}).') from error
    except (OSError, RuntimeError) as error:
        short = ' '.join(str(error).split())[:200]
        raise MissingWeightsError(f"{owner}: timm's weights of {model} are not here ({short}).") from error


def network_name(model: str) -> str:
    """Which network a name of timm or of DINOv2's files is: its kind of training, whatever its size or patches are."""
    lowered = model.lower()
    return next(
        (kind for kind in ('dinov3', 'dinov2', 'dino', 'siglip', 'clip') if kind in lowered), lowered.split('.')[0]
    )
