"""Our gradients under the peer's key names and in the peer's shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

# The release compresses by a strided convolution (out, channel, row, column); we by a linear map (out, row*column*channel).
CONVOLUTION = 'x_embedder.proj.weight'


def peer_gradient(
    module: nn.Module, rename: Callable[[dict[str, Tensor]], Mapping[str, Tensor]], key: str, like: Tensor
) -> Tensor:
    """The gradient of the parameter that a peer calls `key`.

    Args:
        module: Ours, after backward.
        rename: From a state dict with the peer's keys to one with ours.
        key: The peer's key.
        like: The peer's tensor of that key.
    """
    (ours,) = rename({key: like})
    grad = dict(module.named_parameters())[ours].grad
    if key.endswith(CONVOLUTION):
        out, channels, rows, columns = like.shape
        return grad.view(out, rows, columns, channels).permute(0, 3, 1, 2)
    return grad.view(like.shape)
