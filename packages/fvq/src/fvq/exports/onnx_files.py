"""`encode.onnx` and `decode.onnx`, which onnxruntime and others run."""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from fvq_core.errors import UserError

from .files import KEY
from .programs import HALVES

SUFFIX = '.onnx'
NEEDED = ('onnx', 'onnxscript', 'onnxruntime')
OPSET = 20  # the first with GELU


def check_installed() -> None:
    """Raise if a library is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(f'--format onnx needs {", ".join(missing)}, not installed here; pip install "fvq[onnx]".')


def plain_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention as products and a softmax: the exporter knows it only with heads, and VQGAN's has none."""
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return scores.softmax(-1) @ v


def with_plain_attention(program: ExportedProgram) -> ExportedProgram:
    """The program with `plain_attention` where attention has no heads; with heads the exporter knows it."""
    attention: Any = torch.ops.aten.scaled_dot_product_attention.default
    queries: list[Any] = [node.args[0] for node in program.graph.nodes if node.target is attention]
    if all(query.meta['val'].dim() == 4 for query in queries):
        return program
    return program.run_decompositions({attention: plain_attention})


def convert(programs: dict[str, ExportedProgram], latent: bool) -> dict[str, Any]:
    """The models by name, in memory; their input and output are named for what they hold."""
    named = dict(
        encode=('images', 'moments' if latent else 'codes'), decode=('latent' if latent else 'codes', 'images')
    )
    found = {}
    for name, program in programs.items():
        try:
            model = to_onnx(with_plain_attention(program), *named[name])
        except Exception as error:  # the exporter raises its own and whatever a translation raises
            causes = [error, *([error.__cause__] if error.__cause__ else [])]
            reason = ' '.join(str(causes[-1]).split())[:200]
            raise UserError(f'{name}: torch.onnx cannot express it ({type(causes[-1]).__name__}: {reason}).') from error
        for node in model.model.graph:
            node.metadata_props.clear()  # paths and names of our source
        found[name] = model
    return found


def to_onnx(program: ExportedProgram, given: str, returned: str) -> Any:
    """One model, with the names of its input and output."""
    with contextlib.redirect_stdout(io.StringIO()):  # its progress
        return torch.onnx.export(
            program,
            (),
            input_names=[given],
            output_names=[returned],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            external_data=False,
        )


def write(models: dict[str, Any], folder: Path, facts: str | None = None) -> None:
    """The files of both models, with facts in their metadata."""
    for name, model in models.items():
        if facts is not None:
            model.model.metadata_props[KEY] = facts
        model.save(folder / f'{name}{SUFFIX}')


class LoadedModels:
    """Both models in onnxruntime on the CPU, read from a folder."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.sessions = {
            name: onnxruntime.InferenceSession(folder / f'{name}{SUFFIX}', options, providers=['CPUExecutionProvider'])
            for name in HALVES
        }

    def run(self, name: str, given: Tensor) -> Tensor:
        session = self.sessions[name]
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: given.numpy()})[0])

    def encode(self, images: Tensor) -> Tensor:
        return self.run('encode', images)

    def decode(self, given: Tensor) -> Tensor:
        return self.run('decode', given.contiguous())
