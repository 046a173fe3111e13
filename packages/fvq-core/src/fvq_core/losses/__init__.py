"""What a tokenizer is trained with besides its quantizer's losses.

- Between reconstruction and image: `reconstruction` (L1, L2, sums), `logit_laplace`, and `perceptual_loss`, whose frozen
  networks (LPIPS, ConvNeXt) are in `perceptual/`, where metrics use LPIPS too; `nll` makes a likelihood of both.
- Between a layer of the tokenizer and a frozen network's features of the image: `feature_alignment`.
- In place of both, in TiTok's first stage: `proxy_codes`. Besides, in the first part of GigaTok's training: `shortcut`.
- Adversarial: `adversarial/` combines a network of `discriminators/` with a loss of its logits (`gan`), the penalties R1 and
  LeCAM, and augmentation of what it sees.
"""

from .adversarial import AdversarialLoss, DiffAugment, LeCAM, R1Penalty
from .feature_alignment import FeatureAlignment
from .gan import HingeGANLoss, NonSaturatingGANLoss, VanillaGANLoss
from .logit_laplace import LogitLaplaceLoss
from .nll import NLLLoss
from .perceptual_loss import ConvNeXtLoss, PerceptualLoss
from .proxy_codes import ProxyCodesLoss
from .reconstruction import L1Loss, L2Loss, SumLoss
from .shortcut import ShortcutLoss

__all__ = [
    'AdversarialLoss',
    'ConvNeXtLoss',
    'DiffAugment',
    'FeatureAlignment',
    'HingeGANLoss',
    'L1Loss',
    'L2Loss',
    'LeCAM',
    'LogitLaplaceLoss',
    'NLLLoss',
    'NonSaturatingGANLoss',
    'PerceptualLoss',
    'ProxyCodesLoss',
    'R1Penalty',
    'ShortcutLoss',
    'SumLoss',
    'VanillaGANLoss',
]
