"""What a linear classifier can read of an image's class in the latents and in the codes of a frozen autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError
from fvq_core.images import from_uint8
from fvq_core.metric import MetricValue
from fvq_core.progress import Progress

from ..samples.samples import Samples

DECAYS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # weights of |W|^2 / 2 beside the mean cross-entropy
HELD_OUT = 0.1  # of the training images: they choose the decay


@dataclass(frozen=True)
class ProbeSet:
    """Features and classes of images.

    Attributes:
        features: (N, F) each, by kind: `latents`, before quantization, and `codes`, after it.
        labels_N: Classes.
    """

    features: dict[str, Tensor]
    labels_N: Tensor


@torch.no_grad()
def probe_set(autoencoder: Autoencoder, samples: Samples, grid: int = 1, batch_size: int = 32) -> ProbeSet:
    """What a probe sees of labelled images.

    Args:
        autoencoder: In eval mode, on its device.
        samples: Images with classes.
        grid: Latents are averaged over grid x grid parts of the image; of a sequence, over grid parts. 1 is global pooling.
        batch_size: Images at a time.

    Raises:
        UserError: Images without a class, or of a size that cannot be encoded.
    """
    labels_N = torch.from_numpy(samples.labels())
    device = next(autoencoder.parameters()).device
    found: dict[str, list[Tensor]] = {}
    for block in Progress.each(samples.read(range(samples.blocks)), 'features', samples.blocks, 'block'):
        for part in block.split(batch_size):
            z_BDHW = autoencoder.encode_latent(from_uint8(part.to(device)))
            kinds = {'latents': z_BDHW}
            if autoencoder.quantizer is not None:
                kinds['codes'] = autoencoder.quantizer(z_BDHW).z_q_BDHW
            for name, latent in kinds.items():
                found.setdefault(name, []).append(pooled(latent.float(), grid).cpu())
    return ProbeSet({name: torch.cat(parts) for name, parts in found.items()}, labels_N)


def pooled(latent: Tensor, grid: int) -> Tensor:
    """Means over parts of a latent (B, D, H, W) or (B, D, L), as (B, D x parts)."""
    mean = F.adaptive_avg_pool2d(latent, grid) if latent.dim() == 4 else F.adaptive_avg_pool1d(latent, grid)
    return mean.flatten(1)


def probe(train: ProbeSet, test: ProbeSet, grid: int = 1, seed: int = 0) -> dict[str, MetricValue]:
    """Accuracy of multinomial logistic regression on each kind of features, fitted on `train`, on the images of `test`.

    Features are standardized over the training images. The decay is the best of `DECAYS` on a tenth of them, then all are
    fitted. Values are `probe_latents` and `probe_codes`, and with ten classes or more `..._top5`.

    Raises:
        UserError: Fewer than two classes, or a class that is only in the test set.
    """
    classes, train_N = train.labels_N.unique(return_inverse=True)
    unknown = set(test.labels_N.tolist()) - set(classes.tolist())
    if len(classes) < 2 or unknown:
        got = f'{len(classes)} in training' + (f', and {len(unknown)} that are only in the test set' if unknown else '')
        raise UserError(f'probe: expected two classes or more, the same in training and test, got {got}.')
    test_N = torch.searchsorted(classes, test.labels_N)
    order = torch.randperm(len(train_N), generator=torch.Generator().manual_seed(seed))
    held, kept = order.tensor_split([max(1, int(HELD_OUT * len(order)))])
    values: dict[str, MetricValue] = {}
    for name, x_NF in train.features.items():
        mean_F, std_F = x_NF.mean(0), x_NF.std(0, correction=0)
        x_NF, y_NF = ((x - mean_F) / std_F.clamp(min=1e-6) for x in (x_NF, test.features[name]))
        tried = [(top(fit(x_NF[kept], train_N[kept], len(classes), d), x_NF[held], train_N[held]), d) for d in DECAYS]
        decay = max(tried)[1]  # of equals the strongest
        weights = fit(x_NF, train_N, len(classes), decay)
        where = 'global mean' if grid == 1 else f'means over {grid} parts a side'
        protocol = (
            f'linear probe of the {name}: {where}, {x_NF.shape[1]} standardized features, logistic regression on '
            f'{len(x_NF):,} images of {len(classes):,} classes, decay {decay:g}'
        )
        values[f'probe_{name}'] = MetricValue(top(weights, y_NF, test_N), '%', protocol, len(test_N))
        if len(classes) >= 10:
            values[f'probe_{name}_top5'] = MetricValue(top(weights, y_NF, test_N, 5), '%', protocol, len(test_N))
    return values


def fit(x_NF: Tensor, labels_N: Tensor, classes: int, decay: float) -> Tensor:
    """Weights (F + 1, classes), the last row the bias, that minimize mean cross-entropy + decay |W|^2 / 2, by L-BFGS."""
    x_NF = torch.cat([x_NF, x_NF.new_ones(len(x_NF), 1)], 1)
    shape = (x_NF.shape[1], classes)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(flat).view(shape).requires_grad_()
        value = F.cross_entropy(x_NF @ weights.float(), labels_N).double() + decay / 2 * weights[:-1].square().sum()
        (gradient,) = torch.autograd.grad(value, weights)
        return value.item(), gradient.flatten().numpy()

    found = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method='L-BFGS-B', options={'maxiter': 500})
    return torch.from_numpy(found.x).view(shape).float()


def top(weights: Tensor, x_NF: Tensor, labels_N: Tensor, among: int = 1) -> float:
    """Per cent of images whose class is among the likeliest."""
    logits_NC = x_NF @ weights[:-1] + weights[-1]
    best = logits_NC.topk(min(among, logits_NC.shape[1]), dim=1).indices
    return 100 * (best == labels_N[:, None]).any(1).double().mean().item()


def split(whole: ProbeSet, share: float, seed: int) -> Sequence[ProbeSet]:
    """Training and test images of one set, at random."""
    order = torch.randperm(len(whole.labels_N), generator=torch.Generator().manual_seed(seed))
    parts = order.tensor_split([len(order) - max(1, round(share * len(order)))])
    return [ProbeSet({k: x[part] for k, x in whole.features.items()}, whole.labels_N[part]) for part in parts]
