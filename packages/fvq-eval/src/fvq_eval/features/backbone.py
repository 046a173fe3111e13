"""Any network of timm or torchvision, by name, as features for a Frechet distance that is not called FID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError, nearest_hint
from fvq_core.files.hash import file_sha256
from fvq_core.losses.perceptual.weights import MissingWeightsError, load_tensors
from fvq_core.registry import FEATURE_EXTRACTORS
from fvq_core.saving.weights import load_weights

from .feature_extractor import FeatureExtractor

TORCHVISION = 'torchvision/'
IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@FEATURE_EXTRACTORS.register_module()
class Backbone(FeatureExtractor):
    """What a classifier sees before its last layer. Distances in it are called FD-<network>.

    Images are resized to the network's own size, without a crop, by antialiased bicubic interpolation unless timm names
    another kernel for these weights; then normalised as the network was trained.

    Args:
        model: timm's name (`vit_base_patch14_dinov2.lvd142m`), or `torchvision/` and torchvision's (`torchvision/resnet50`).
        weights: File of a state dict (`.safetensors`, or a pickle of which only tensors are read). By default the weights
            that timm or torchvision publish, from their cache or downloaded.
        sha256: What the file's hash must start with; it is checked before the file is read.

    Raises:
        UserError: An unknown network, or a file that is not what it should be.
        MissingWeightsError: The file does not exist, or the published weights are neither here nor can they be downloaded.
    """

    def __init__(self, model: str, weights: str | Path | None = None, sha256: str | None = None) -> None:
        super().__init__()
        path = None if weights is None else Path(weights).expanduser()
        if path is not None and not path.is_file():
            raise MissingWeightsError(f'Backbone: {path} does not exist; give the file of the weights of {model}.')
        digest = None if path is None else check_hash(path, sha256)
        build = torchvision_network if model.startswith(TORCHVISION) else timm_network
        try:
            self.network, settings, published = build(model.removeprefix(TORCHVISION), path is None)
        except (OSError, RuntimeError) as error:
            raise MissingWeightsError(
                f'Backbone: the published weights of {model} are not here and cannot be downloaded '
                f'({" ".join(str(error).split())[:200]}); give a file as `weights`.'
            ) from error
        if path is not None:
            load_weights(self.network, load_tensors(path), str(path))
        drop_head(self.network, model)
        self.side, self.kernel = settings['side'], settings['kernel']
        mean, std = (torch.tensor(settings[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
        self.register_buffer('mean_1C11', mean)
        self.register_buffer('std_1C11', std)
        self.name = model.replace('/', '-')
        self.preprocessing = (
            f'antialiased {self.kernel} to {self.side} x {self.side}, mean {settings["mean"]}, std {settings["std"]}'
        )
        self.provenance = f'{model}, {published}' if digest is None else f'{model}, {path}, sha256 {digest[:16]}'
        self.freeze()
        with torch.no_grad():
            features_BD = self.network(torch.zeros(1, 3, self.side, self.side))
        if features_BD.ndim != 2:
            raise UserError(
                f'Backbone: {model} gives {tuple(features_BD.shape)}, not a vector an image; choose another.'
            )
        self.sizes = {'pool': features_BD.shape[1]}

    mean_1C11: Tensor
    std_1C11: Tensor

    def extract(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        size = (self.side, self.side)
        x = F.interpolate(pixels_BCHW, size, mode=self.kernel, align_corners=False, antialias=True).clamp(0, 255)
        return {'pool': self.network((x / 255 - self.mean_1C11) / self.std_1C11)}


def timm_network(name: str, pretrained: bool) -> tuple[nn.Module, dict[str, Any], str]:
    """A network of timm, what it wants of images, and what its published weights are called."""
    import timm  # seconds that only those who need it shall pay

    if not timm.is_model(name):
        raise UserError(f"Backbone: timm has no network '{name}'; {nearest_hint(name, timm.list_models())}")
    network = timm.create_model(name, pretrained=pretrained)
    config = timm.data.resolve_model_data_config(network)
    kernel = config['interpolation'] if config['interpolation'] in ('bilinear', 'bicubic') else 'bicubic'
    settings = dict(side=config['input_size'][-1], kernel=kernel, mean=config['mean'], std=config['std'])
    published: Any = network.pretrained_cfg
    return network, settings, f"timm {timm.__version__}'s weights '{published.get('tag') or 'default'}'"


def torchvision_network(name: str, pretrained: bool) -> tuple[nn.Module, dict[str, Any], str]:
    """The same of torchvision."""
    from torchvision import models  # seconds that only those who need it shall pay

    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f"Backbone: torchvision has no network '{name}'; {nearest_hint(name, known)}")
    best = models.get_model_weights(name)['DEFAULT']
    crop = best.transforms().crop_size
    network = models.get_model(name, weights=best if pretrained else None)
    return network, dict(side=crop[0], kernel='bicubic', **IMAGENET), f"torchvision's weights '{best.name}'"


def drop_head(network: nn.Module, name: str) -> None:
    """Replace the last layer, which makes class scores, by nothing."""
    if hasattr(network, 'reset_classifier'):
        network.reset_classifier(0)  # pyrefly: ignore[not-callable]
        return
    last = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not last:
        raise UserError(f'Backbone: {name} ends in no linear layer; choose another network.')
    parent, _, child = last[-1].rpartition('.')
    setattr(network.get_submodule(parent), child, nn.Identity())


def check_hash(path: Path, wanted: str | None) -> str:
    """The sha256 of a file, which must start as wanted."""
    digest = file_sha256(path)
    if wanted is not None and not digest.startswith(wanted.lower()):
        raise UserError(f'{path}: its sha256 starts with {digest[:16]}, not with {wanted}; it is not that file.')
    return digest
