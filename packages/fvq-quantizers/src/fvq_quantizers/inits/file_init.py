"""A codebook from a file, such as the centres of image features that VQGAN-LC freezes (Zhu et al., 2024a)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.files.arrays import map_npy
from fvq_core.files.safetensors import open_safetensors
from fvq_core.files.torch_weights import CheckpointError, candidates, read_weights_file, tensor_or_none
from fvq_core.registry import CODEBOOK_INITS

from .codebook_init import CodebookInit

SUFFIXES = ('.safetensors', '.npy', '.pt', '.pth', '.bin', '.ckpt')


@CODEBOOK_INITS.register_module()
class FileInit(CodebookInit):
    """Initial codes (K, source_dim) from a file; `tools/make_codebook.py` writes such files.

    The width need not be D: a projector with `source_dim` (linear, MLP) maps the codes to D. The codes stay as they are
    with the update `Frozen`, as in VQGAN-LC, or are trained from there. A saved tokenizer holds the values and does not
    need the file.

    Args:
        path: A .safetensors, .npy, .pt, .pth, .bin or .ckpt file; no code in it is run.
        key: The tensor's name, if the file holds more than one; in a training checkpoint, a key of the state dict.

    Raises:
        UserError: Another kind of file. When the codebook is built: a missing or broken file, a tensor of another shape,
            or values that are not finite. On the meta device a missing file is not an error.
    """

    component_config: Mapping[str, Any] = dict(type='UniformInit')  # in saved tokenizers

    def __init__(self, path: str, key: str | None = None) -> None:
        self.path, self.key = Path(path).expanduser(), key
        if self.path.suffix not in SUFFIXES:
            raise UserError(f'FileInit: {path} is not a {", ".join(SUFFIXES)} file; convert it to one of them.')

    def weights(self, codebook_size: int, dim: int) -> Tensor:
        on_meta = torch.empty(0).device.type == 'meta'
        if on_meta and not self.path.is_file():
            return torch.empty(codebook_size, dim)
        codebook = self._read()
        self._check_shape(tuple(codebook.shape), codebook_size, dim)
        if on_meta:
            return torch.empty(codebook_size, dim)
        codebook = codebook.to(torch.float32, copy=True)
        if not codebook.isfinite().all():
            rows = (~codebook.isfinite()).any(1).nonzero().squeeze(1).tolist()
            raise UserError(
                f'FileInit: {len(rows)} codes of {self.path} are not finite, the first is number {rows[0]}; make the '
                'file again.'
            )
        return codebook

    def _check_shape(self, shape: tuple[int, ...], codebook_size: int, dim: int) -> None:
        if shape == (codebook_size, dim):
            return
        if len(shape) != 2:
            raise UserError(f'FileInit: {self.path} holds a tensor of shape {shape}; expected (codes, channels).')
        remedy = f'set codebook_size={shape[0]}' if shape[0] != codebook_size else ''
        if shape[1] != dim:
            remedy += f'{" and " if remedy else ""}give the projector source_dim={shape[1]}'
        raise UserError(
            f'FileInit: {self.path} holds {shape[0]} codes of {shape[1]} channels, the quantizer has {codebook_size} of '
            f'{dim}; {remedy}.'
        )

    def _read(self) -> Tensor:
        """The tensor in the file; its values may still be on disk."""
        if not self.path.is_file():
            raise UserError(
                f'FileInit: the codebook {self.path} does not exist; make it with tools/make_codebook.py PHOTOS '
                f"{self.path} (the config has the options), or set the path in the quantizer's init."
            )
        try:
            if self.path.suffix == '.safetensors':
                with open_safetensors(self.path) as file:
                    return file.get_tensor(self._choose(list(file.keys())))
            if self.path.suffix == '.npy':
                return torch.from_numpy(map_npy(self.path, 'c'))
            loaded = read_weights_file(self.path)
        except (OSError, EOFError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, UserError) and not isinstance(error, CheckpointError):
                raise
            raise UserError(f'FileInit: {self.path} cannot be read: {" ".join(str(error).split())[:200]}') from error
        tensor = tensor_or_none(loaded)
        if tensor is not None:
            return tensor
        found = candidates(loaded)
        if not found:
            raise UserError(f'FileInit: {self.path} holds a {type(loaded).__name__}, not a tensor.')
        return found[0].state[self._choose(list(found[0].state))]

    def _choose(self, keys: list[str]) -> str:
        """The requested key, or the only one."""
        key = keys[0] if self.key is None and len(keys) == 1 else self.key
        if key not in keys:
            wanted = 'more than one tensor' if key is None else f"no tensor '{key}'"
            raise UserError(f'FileInit: {self.path} holds {wanted}; set key to one of {", ".join(keys) or "none"}.')
        return key

    @staticmethod
    def smoke(cfg: Mapping[str, Any]) -> dict[str, Any]:
        """Random codes of the same size instead, so no file is needed."""
        return dict(_replace_=True, type='NormalInit')
