"""LPIPS as the tokenizers' repositories carry it: VGG16, one distance a pair of images."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fvq_core.losses.perceptual import LPIPS

from ..case import Case


def lpips_from_peer(state: Mapping[str, Tensor], prefix: str = '') -> LPIPS:
    """Ours with a peer's weights, in eval mode, giving gradients to the target as the peer does.

    Args:
        state: The peer's state dict; keys that do not start with `prefix` are passed over.
        prefix: Of the peer's LPIPS in it, such as `perceptual_loss.`.
    """
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    # The channel weights stand behind the dropout where the peer was built with one.
    dropout = 'lin0.model.1.weight' in own
    lpips = LPIPS(random=True, dropout=dropout, target_gradient=True)
    renamed = {key: value for key, value in own.items() if key.startswith('net.')}
    renamed |= {f'lins.{index}': own[f'lin{index}.model.{int(dropout)}.weight'] for index in range(len(lpips.lins))}
    renamed |= {f'{name}_1C11': own[f'scaling_layer.{name}'] for name in ('shift', 'scale')}
    lpips.load_state_dict(renamed)
    return lpips


def llamagen(case: Case) -> dict[str, Tensor]:
    # In train mode too: without dropout the mode changes nothing, and with it only one that draws nothing has numbers.
    lpips = lpips_from_peer(case.state)
    images = {name: case.inputs[name].clone().requires_grad_() for name in ('input', 'target')}
    distances_B = lpips(images['input'], images['target'])
    distances_B.sum().backward()
    got = {f'g_{name}': image.grad for name, image in images.items()}
    return {'lpips': distances_B.view(-1, 1, 1, 1), 'scalar': distances_B.sum(), **got}
