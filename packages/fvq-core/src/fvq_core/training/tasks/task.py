"""What the Runner trains: named parts, each with an optimizer of its own, on one device or on many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
import torch.distributed as dist
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...autoencoder import Autoencoder
from ...errors import UserError
from ...metric import MetricValue
from ...ops import group_norm_silu
from ...ops.compile_backend import check_backend
from ...ops.data_parallel import data_parallel
from ..evaluation_loop import evaluate

CUDA_GRAPHS = 'reduce-overhead'  # the mode of torch.compile


@dataclass(frozen=True)
class MicroBatch:
    """What a task reports of a micro-batch after its backward pass."""

    losses: Mapping[str, Tensor]  # detached scalars by name, with `total`, what the main part minimises
    images: int  # B, their number
    codebook_indices: Tensor | None = None  # (B, L), codes that the batch used; None if there are none
    watched: Mapping[str, Tensor] = field(default_factory=dict)  # other scalars that must be finite


class Task(BaseModel):
    """Base of every task.

    State-dict keys are the same on one device and on many, compiled or not: the DDP modules that average gradients over
    ranks are kept beside the parts, not around them. A subclass has `parts` and `backward`.

    Args:
        compile: Run `compiled_modules` through `torch.compile`, in place; True, the name of a backend, or
            `'reduce-overhead'` for CUDA graphs, which small models gain from. The first steps are then slow.
        channels_last: Keep convolution weights and images in channels-last order, which GPUs are faster with. None: if the
            fused kernels for features in that order run on the device.
    """

    ddp_modules: dict[str, DistributedDataParallel]
    weights_note = ''  # after the checkpoint's name in the stamp of a number, such as ' (moving average)'
    training_only: tuple[str, ...] = ()  # constructor arguments that inference does without

    def __init__(self, compile: bool | str = False, channels_last: bool | None = False) -> None:
        super().__init__()
        if isinstance(compile, str) and compile != CUDA_GRAPHS:
            check_backend('model.compile', compile)
        self.compile_parts, self.channels_last = compile, channels_last
        self.frozen_parts: tuple[str, ...] = ()
        self.kept_in_eval: tuple[nn.Module, ...] = ()
        object.__setattr__(self, 'ddp_modules', {})  # out of the module tree

    def parts(self) -> dict[str, nn.Module]:
        """The modules that are trained, by name, each with its own optimizer; the main one first."""
        raise NotImplementedError

    def freezable(self) -> dict[str, list[nn.Module]]:
        """The modules behind each name that `freeze` takes: by default the children of the main part."""
        return {name: [child] for name, child in next(iter(self.parts().values())).named_children()}

    def freeze(self, names: Sequence[str]) -> None:
        """Leave these of `freezable` as they are: no gradients, and eval mode throughout; for constructors."""
        known, main = self.freezable(), next(iter(self.parts().values()))
        if unknown := next((name for name in names if name not in known), None):
            raise UserError(f"model.freeze: {type(main).__name__} has no part '{unknown}'; it has {', '.join(known)}.")
        self.frozen_parts = tuple(names)
        self.kept_in_eval = tuple(module for name in names for module in known[name])
        for module in self.kept_in_eval:
            module.requires_grad_(False)
        if names and not any(parameter.requires_grad for parameter in main.parameters()):
            raise UserError(
                f'model.freeze: with {", ".join(names)} frozen, nothing of {type(main).__name__} is trained.'
            )

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.kept_in_eval:
            module.eval()
        return self

    def compiled_modules(self) -> list[nn.Module]:
        """Modules that `compile=True` compiles."""
        return []

    def initialize_from_data(self, batches: Iterator[Any]) -> None:
        """Called once before the first step of a fresh run, with batches that training will see again."""

    def autoencoder(self) -> Autoencoder | None:
        """The model of images that is trained and evaluated; None for tasks on codes."""
        return None

    def codebook_size(self) -> int | None:
        """K, the number of values of `MicroBatch.codebook_indices`; None if there are none. Called before training starts."""
        return None

    def check_dataset(self, dataset: Any) -> None:
        """Raise if this task cannot train on a data set; called before a run writes anything."""

    def evaluate(self, *args: Any) -> dict[str, MetricValue]:
        """Figures of a data set by name. Takes what `evaluate` of `evaluation_loop` does; every rank calls it."""
        return evaluate(self, *args)

    def parts_due(self, iteration: int) -> list[str]:
        """Names of the parts whose optimizers step in a 0-based iteration."""
        return list(self.parts())

    def backward(self, batch: Any, optimizers: Mapping[str, Any], micro_batches: int) -> MicroBatch:
        """Forward and backward passes of one micro-batch.

        Args:
            batch: Batch from the data loader.
            optimizers: The optimizer wrappers of the parts that are due.
            micro_batches: Their number in this iteration. Losses are divided by it before they are differentiated.
        """
        raise NotImplementedError

    def after_step(self, optimizers: Mapping[str, Any]) -> None:
        """Called after the optimizers of an iteration have stepped."""

    def train_step(self, data: Sequence[Any], optim_wrapper: Any, iteration: int) -> dict[str, Any]:
        """One step of every optimizer that is due.

        Args:
            data: Micro-batches, whose gradients are averaged.
            optim_wrapper: The `OptimWrapperDict` of the parts.
            iteration: 0-based.

        Returns:
            `losses`: means over the micro-batches by name; `watched`: maxima over them; `images`, the number, and
            `codebook_indices` (B, L) of all, or None.
        """
        if self.compile_parts == CUDA_GRAPHS:
            if len(data) > 1:  # the graphs would overwrite the gradients of the first
                raise UserError(
                    f"model.compile='{CUDA_GRAPHS}' takes one micro-batch, got {len(data)}; use compile=True."
                )
            torch.compiler.cudagraph_mark_step_begin()
        optimizers = {name: optim_wrapper[name] for name in self.parts_due(iteration)}
        losses: dict[str, Tensor] = {}
        watched: dict[str, Tensor] = {}
        images, indices_BL = 0, []
        for number, batch in enumerate(data, 1):
            with self.no_sync_if(number < len(data)):
                done = self.backward(batch, optimizers, len(data))
            for name, value in done.losses.items():
                losses[name] = losses.get(name, 0.0) + value / len(data)
            for name, value in done.watched.items():
                watched[name] = torch.maximum(watched[name], value) if name in watched else value
            images += done.images
            if done.codebook_indices is not None:
                indices_BL.append(done.codebook_indices)
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.after_step(optimizers)
        indices = torch.cat(indices_BL) if indices_BL else None
        return {'losses': losses, 'watched': watched, 'images': images, 'codebook_indices': indices}

    def load_saved(self, source: str) -> nn.Module:
        """The main part as a saved folder or a repository on the hub holds it, for a run to start from."""
        raise UserError(f'{type(self).__name__} starts from a checkpoint (iter_N.pth); {source} is not a file.')

    def check_export(self, work_dir: Path, batch: Any) -> str:
        """Load what a finished run exported and compare it with the trained task; called by a smoke run.

        `batch` is one of the evaluation data, or of the training data if there is none. Returns what was proven; a
        `SmokeError` is raised if they differ.
        """
        raise NotImplementedError

    def place(self, device: torch.device, ddp: Mapping[str, Any] | None = None) -> Task:
        """Move to the device, arrange memory, compile, and connect with the other ranks; called once by the Runner.

        `ddp` are options of `data_parallel`.
        """
        self.to(device)
        if self.channels_last is None:
            self.channels_last = group_norm_silu.KERNEL.enabled(next(self.parameters()).device)
        if self.channels_last:
            self.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]
        if self.compile_parts:
            name = 'inductor' if self.compile_parts is True else self.compile_parts
            how: dict[str, Any] = dict(mode=name) if name == CUDA_GRAPHS else dict(backend=name)
            for module in self.compiled_modules():
                module.compile(**how)
        if dist.is_initialized():
            for name, part in self.parts().items():
                self.ddp_modules[name] = data_parallel(part, **(ddp or {}))
        return self

    def local_state(self) -> dict[str, Tensor]:
        """The state dict of this process, sharing memory with the weights; only its shards if the task splits its weights."""
        return nn.Module.state_dict(self)

    def gather(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors on the CPU from those of `local_state`; every rank calls it. Of split weights only rank 0 gets any."""
        return {key: value.detach().cpu() for key, value in state.items()}

    def scatter(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `gather`: whole tensors in the form of `local_state`."""
        device = next(self.parameters()).device
        return {key: value.to(device) for key, value in state.items()}

    def ddp_module(self, name: str) -> nn.Module:
        """The module to call in a training step: the part in DDP, or the part itself on one device."""
        return self.ddp_modules.get(name) or self.parts()[name]

    @contextmanager
    def no_sync_if(self, local: bool) -> Iterator[None]:
        """If `local`, backward passes inside do not average gradients over ranks; for all micro-batches but the last."""
        with ExitStack() as stack:
            for module in self.ddp_modules.values() if local else ():
                stack.enter_context(module.no_sync())
            yield
