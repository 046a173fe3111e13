"""The keys and values of earlier positions, in memory that is taken once."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.errors import UserError


class KVCache:
    """Static memory for all layers of a transformer.

    A position is a whole number, and then what is returned ends with the newest entry, so that nothing is computed for
    positions that are still empty; or it is a tensor on the device, and then all positions are returned, which keeps every
    shape the same (`torch.compile`, CUDA graphs) and needs a mask.

    Args:
        layers: Number of layers.
        batch: Sequences B.
        kv_heads, head_dim: Heads of keys and values, and channels of each.
        length: Positions T.
        dtype, device: Dtype and device of keys and values.
        kept: Rows and channels of what a model keeps of each sequence beside, such as the last token of each layer.

    Attributes:
        keys, values: (layers, B, kv_heads, T, head_dim).
        kept: (rows, B, channels).
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        kv_heads: int,
        length: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = 'cpu',
        kept: tuple[int, int] = (0, 0),
    ) -> None:
        shape = (layers, batch, kv_heads, length, head_dim)
        # Zeros, not garbage: a masked position is multiplied with weight 0, and 0 x NaN is NaN.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.kept = torch.zeros(kept[0], batch, kept[1], dtype=dtype, device=device)

    @property
    def batch(self) -> int:
        """B."""
        return self.keys.shape[1]

    @property
    def length(self) -> int:
        """T."""
        return self.keys.shape[3]

    @property
    def nbytes(self) -> int:
        """Memory of all that it holds."""
        return self.keys.nbytes + self.values.nbytes + self.kept.nbytes

    def first(self, batch: int) -> KVCache:
        """The cache of only the first sequences, in the same memory."""
        part = object.__new__(KVCache)
        part.keys, part.values, part.kept = self.keys[:, :batch], self.values[:, :batch], self.kept[:, :batch]
        return part

    def check_room(self, start: int, new: int) -> None:
        """Raise if new positions do not fit."""
        if start < 0 or start + new > self.length:
            raise UserError(
                f'KVCache: positions {start} to {start + new - 1} are wanted and there are {self.length}; '
                'make a cache for the whole sequence: condition tokens and codes.'
            )

    def append(self, layer: int, k_BHLD: Tensor, v_BHLD: Tensor, position: int | Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of L new positions of one layer, and return all that attention should see.

        Args:
            layer: Number of the layer.
            k_BHLD: (B, kv_heads, L, head_dim).
            v_BHLD: The same shape.
            position: Position of the first, or of each (L,) on the device.

        Returns:
            Keys and values (B, kv_heads, T', head_dim); T' ends with the newest for a whole number, and is T otherwise.
        """
        keys, values = self.keys[layer], self.values[layer]
        if isinstance(position, int):
            end = position + k_BHLD.shape[2]
            keys[:, :, position:end] = k_BHLD
            values[:, :, position:end] = v_BHLD
            return keys[:, :, :end], values[:, :, :end]
        keys.index_copy_(2, position, k_BHLD.to(keys.dtype))
        values.index_copy_(2, position, v_BHLD.to(values.dtype))
        return keys, values
