"""What the Runner trains: named parts, each with an optimizer of its own, on one device or on many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...errors import UserError


class Task(BaseModel):
    """Base of every task.

    State-dict keys are the same on one device and on many, compiled or not: the handles that average gradients over
    ranks stand beside the modules, not around them.

    Args:
        compile: Run `compiled_modules` through `torch.compile`, in place; True, or the name of a backend. The first steps
            are then slow.
        channels_last: Keep convolution weights and images in channels-last order, which GPUs are faster with.
    """

    ddp_modules: dict[str, nn.Module]
    weights_note = ''  # what a number's stamp says of its weights beside the checkpoint's name
    training_only: tuple[str, ...] = ()  # constructor arguments that a trained model does without

    def __init__(self, compile: bool | str = False, channels_last: bool = False) -> None:
        super().__init__()
        self.compile_parts, self.channels_last = compile, channels_last
        object.__setattr__(self, 'ddp_modules', {})  # out of the module tree

    def parts(self) -> dict[str, nn.Module]:
        """Modules that have an optimizer each, by name; the main one first."""
        raise NotImplementedError

    def compiled_modules(self) -> list[nn.Module]:
        """Modules that `compile=True` compiles."""
        return []

    def initialize_from_data(self, batches: Iterator[Any]) -> None:
        """Called once before the first step of a fresh run, with batches that training will see again."""

    def train_step(self, data: list[Any], optim_wrapper: Any, iteration: int) -> dict[str, Any]:
        """One step of every optimizer that is due.

        Args:
            data: Micro-batches, whose gradients are averaged.
            optim_wrapper: The `OptimWrapperDict` of the parts.
            iteration: 0-based.

        Returns:
            `losses`: detached scalars by name, with `total`, what the main part minimises; optionally `watched`: other scalars
            that must be finite too; and what the task's hooks read.
        """
        raise NotImplementedError

    def load_saved(self, source: str) -> nn.Module:
        """The main part as a saved folder or a repository on the hub holds it, for a run to start from.

        Raises:
            UserError: There is none, or this task does not start from one.
        """
        raise UserError(f'{type(self).__name__} starts from a checkpoint (iter_N.pth); {source} is not a file.')

    def check_export(self, work_dir: Path, batch: Any) -> str:
        """Load what a finished run exported, and compare it with the trained task; a smoke run calls it.

        Args:
            work_dir: Of the run.
            batch: Of the evaluation data, or of the training data where there is none.

        Returns:
            What was proven.

        Raises:
            SmokeError: They differ.
        """
        raise NotImplementedError

    def place(self, device: torch.device) -> Task:
        """Move to the device, arrange memory, compile, and connect with the other ranks; called once by the Runner."""
        self.to(device)
        if self.channels_last:
            self.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]
        if self.compile_parts:
            for module in self.compiled_modules():
                module.compile(backend='inductor' if self.compile_parts is True else self.compile_parts)
        if dist.is_initialized():
            for name, part in self.parts().items():
                self.ddp_modules[name] = DistributedDataParallel(part, broadcast_buffers=False)
        return self

    def local_state(self) -> dict[str, Tensor]:
        """The state dict as this process holds it, in the memory of the weights; parts of them where a task splits them."""
        return nn.Module.state_dict(self)

    def gather(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors in the form of `local_state` in one piece each, on the CPU.

        Every process must ask. Where weights are split, rank 0 alone gets an answer, the others an empty one.
        """
        return {key: value.detach().cpu() for key, value in state.items()}

    def scatter(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `gather` gave, in the form of `local_state`."""
        device = next(self.parameters()).device
        return {key: value.to(device) for key, value in state.items()}

    def ddp_module(self, name: str) -> nn.Module:
        """What a training forward of a part goes through: its DDP handle, or the part itself on one device."""
        return self.ddp_modules.get(name) or self.parts()[name]

    @contextmanager
    def no_sync_if(self, stay: bool) -> Iterator[None]:
        """Inside, where `stay` holds, backward leaves gradients on their rank: all micro-batches but the last."""
        with ExitStack() as stack:
            if stay:
                for handle in self.ddp_modules.values():
                    stack.enter_context(cast(DistributedDataParallel, handle).no_sync())
            yield
