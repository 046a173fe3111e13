"""From a folded autoencoder to a folder in a format, compared with it and put in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import LatentLayout
from fvq_core.errors import UserError

from . import onnx_files, torch_files
from .compare import Comparison, compare
from .files import describe_export, finish, judge, new_folder
from .graphs import Sizes
from .programs import export_programs, in_half


def check_each_image(autoencoder: Autoencoder) -> None:
    """Raise if the codes of an image depend on the other images of its batch."""
    if autoencoder.quantizer is not None and autoencoder.quantizer.depends_on_batch:
        raise UserError(
            f'{type(autoencoder.quantizer).__name__} assigns the codes of a batch together (at_inference=True), which no '
            'export does; set at_inference=False.'
        )


def export_graphs(
    autoencoder: Autoencoder,
    out: Path,
    form: Literal['torch', 'onnx'],
    size: tuple[int, int] | None = None,
    half: bool = False,
    allow: bool = False,
) -> Comparison:
    """`encode` and `decode` as programs of torch.export or ONNX models; returns what the comparison found.

    Args:
        autoencoder: In eval mode and folded, float32 on the CPU.
        out: Folder to write, or an earlier export to replace.
        size: Height and width of the only images it takes; by default any, if the network takes any.
        half: Compute in float16, except in the quantizer.
        allow: Write it although it differs more than it may.

    Raises:
        UserError: It cannot be exported, or differs; nothing is written then.
    """
    if form == 'onnx':
        onnx_files.check_installed()
    check_each_image(autoencoder)
    sizes = Sizes.of(autoencoder, size)
    latent = isinstance(sizes.layout, LatentLayout)
    with new_folder(out) as folder:
        programs: dict[str, Any] = export_programs(in_half(autoencoder) if half else autoencoder, sizes)
        if form == 'onnx':
            programs = onnx_files.convert(programs, latent)
        files = onnx_files if form == 'onnx' else torch_files
        files.write(programs, folder)
        loaded = onnx_files.LoadedModels(folder) if form == 'onnx' else torch_files.LoadedPrograms(folder)
        found = compare(autoencoder, loaded, sizes, half)
        judge(found, allow)
        facts = describe_export(autoencoder, sizes, form, half) | {
            'compared': found.facts(),
            'torch': torch.__version__,
        }
        finish(folder, facts, lambda text: files.write(programs, folder, text))
    return found


def export_diffusers(autoencoder: Autoencoder, out: Path, allow: bool = False) -> Comparison:
    """A folder of diffusers' `VQModel` or `AutoencoderKL`; returns what the comparison found. As `export_graphs`."""
    from . import diffusers_folder

    diffusers_folder.check_installed()
    check_each_image(autoencoder)
    model = diffusers_folder.build(autoencoder)
    sizes = Sizes.of(autoencoder)
    with new_folder(out) as folder:
        model.save_pretrained(folder)
        found = compare(autoencoder, diffusers_folder.LoadedFolder(folder), sizes)
        judge(found, allow)
        facts = describe_export(autoencoder, sizes, 'diffusers', False) | {'compared': found.facts()}
        finish(folder, facts, lambda text: diffusers_folder.stamp(folder, text))
    return found
