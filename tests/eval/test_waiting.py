"""An evaluation on a GPU does not wait for it in each batch: CPU tensors say that they are on a GPU, and reads are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from fvq_core.data.image_folder import ImageFolder
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.ops.finite import check_finite_images, deferred_checks
from fvq_core.tokenizer import Tokenizer
from fvq_eval.features.random_features import RandomFeatures
from fvq_eval.generation.extraction import StatisticsExtraction
from fvq_eval.reconstruction import cropped_files
from fvq_eval.samples import open_samples
from fvq_generators.codes_store.manifest import Manifest
from fvq_generators.extraction.multi_crop import ImageWindows, parse_crops
from fvq_generators.extraction.shard_reader import ShardReader
from tests.eval.reconstruction_ranks import evaluator, seeded_tokenizer, write_images

READS = {
    'cpu',
    'item',
    'tolist',
    'numpy',
    '__bool__',
    '__int__',
    '__float__',
    '__index__',
    'nonzero',
    'bincount',
    'unique',
}
GPU = torch.device('cuda', 0)


class Pretended(Tensor):
    """A tensor of the CPU that says it is on a GPU."""


class PretendedGPU(TorchFunctionMode):
    """What is moved to or made on the GPU stays on the CPU and is `Pretended`; counts what would wait for a GPU, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, '__name__', '')
        on_gpu = bool(args) and isinstance(args[0], Pretended)
        attribute = getattr(func, '__self__', None)
        if on_gpu and (attribute is Tensor.device or attribute is Tensor.is_cuda):
            return GPU if attribute is Tensor.device else True
        named = (*args, kwargs.get('device'))
        targets = {str(each).partition(':')[0] for each in named if isinstance(each, str | torch.device)}
        to_gpu = 'cuda' in targets or any(isinstance(each, Pretended) for each in tree_leaves((args, kwargs)))
        if on_gpu and 'cpu' in targets:
            to_gpu = False
        if self.waits_for_gpu(name, args, kwargs, on_gpu, to_gpu):
            self.waits[f'{name} of what is {"" if on_gpu else "not "}on the GPU'] += 1
        if 'cuda' in targets:
            args = tuple('cpu' if isinstance(each, torch.device) else each for each in args)
            kwargs |= {'device': 'cpu'} if 'device' in kwargs else {}
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        return marked(found, Pretended if to_gpu and name not in READS else Tensor)

    def waits_for_gpu(self, name: str, args: Any, kwargs: Any, on_gpu: bool, to_gpu: bool) -> bool:
        if name == 'to':
            return on_gpu != to_gpu and not kwargs.get('non_blocking', False)
        if name == '__getitem__':  # a list is copied to the GPU, a mask is counted there
            return on_gpu and (isinstance(args[1], list) or getattr(args[1], 'dtype', None) == torch.bool)
        return on_gpu if name in READS else to_gpu and name in ('new_tensor', 'tensor')


def marked(found: Any, kind: type[Tensor]) -> Any:
    if isinstance(found, Tensor):
        return found if isinstance(found, nn.Parameter) else found.as_subclass(kind)
    return type(found)(marked(each, kind) for each in found) if type(found) in (tuple, list) else found


class LateEvent:
    """An event of a GPU that is far behind: nothing has arrived until one waits for it."""

    arrived = False

    def record(self, stream: Any) -> None:
        pass

    def query(self) -> bool:
        return self.arrived

    def synchronize(self) -> None:
        pass


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGPU]:
    monkeypatch.setattr(torch.cuda, 'Event', LateEvent)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: None)
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: False)
    monkeypatch.setattr('fvq_eval.reconstruction.evaluator.load', lambda *args, pin_memory: cropped_files.load(*args))
    monkeypatch.setattr('fvq_eval.features.feature_extractor.GPU_CHUNK', 2)
    with PretendedGPU() as mode:
        yield mode


def to_gpu(network: nn.Module) -> None:
    for module in network.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = weight.data.as_subclass(Pretended)  # pyrefly: ignore[unsupported-operation]
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.as_subclass(Pretended)


def tokenizer_on_gpu() -> Tokenizer:
    with torch._C.DisableTorchFunction():
        tokenizer = seeded_tokenizer().eval()
        to_gpu(tokenizer)
    return tokenizer


def waits(gpu: PretendedGPU, files: ImageFolder, presets: list[str], batch_size: int) -> dict[str, int]:
    """What an evaluation of the seven images waits for."""
    gpu.waits.clear()
    values = evaluator(presets).evaluate(tokenizer_on_gpu(), files, batch_size=batch_size)
    assert values[f'{presets[0]}/usage'].samples == 7
    return dict(gpu.waits)


@pytest.mark.filterwarnings('ignore:.*CUDA is not available')
def test_waits_do_not_grow_with_batches(tmp_path: Path, gpu: PretendedGPU) -> None:
    files, presets = ImageFolder(write_images(tmp_path)), ['llamagen', 'ibq']
    few = waits(gpu, files, presets, 4)
    assert few['item of what is on the GPU'] > 0  # at the end, for the numbers
    assert waits(gpu, files, presets, 1) == few


def test_waits_of_an_image_set_do_not_grow_with_batches(
    tmp_path: Path, gpu: PretendedGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, 'pin_memory', lambda pixels: pinned.append(pixels) or pixels)
    np.savez(tmp_path / 'set.npz', np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), np.uint8))
    waits = []
    for batch_size in (64, 2):
        network = RandomFeatures()
        with torch._C.DisableTorchFunction():
            to_gpu(network)
        samples = open_samples(str(tmp_path / 'set.npz'))
        gpu.waits.clear()
        statistics, _ = StatisticsExtraction(network, 'as they are', ['pool'], batch_size).run(samples)
        assert statistics is not None
        assert statistics.count == 70
        waits.append(dict(gpu.waits))
    assert waits[0] == waits[1]
    assert len(pinned) == 2 + 35


@pytest.mark.filterwarnings('ignore:.*CUDA is not available')
def test_a_codec_on_the_cpu_is_seen(tmp_path: Path, gpu: PretendedGPU) -> None:
    files, key = ImageFolder(write_images(tmp_path)), 'cpu of what is on the GPU'
    few, many = (waits(gpu, files, ['fvq-release'], batch_size)[key] for batch_size in (4, 1))
    assert many == few + 2 * (7 - 2)  # both sides of each batch


class NaNInTheFourth:
    """Spoils the fourth batch that it sees, and all that follow."""

    calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * float('nan') if self.calls >= 4 else x


@pytest.mark.filterwarnings('ignore:.*CUDA is not available')
def test_a_late_error_names_the_first_file(tmp_path: Path, gpu: PretendedGPU) -> None:
    tokenizer, spoil = tokenizer_on_gpu(), NaNInTheFourth()
    tokenizer.decoder.register_forward_hook(lambda module, args, output: spoil(output))
    with pytest.raises(UserError, match=r'3\.png: the reconstruction is not finite, and 1 of its batch'):
        evaluator(['llamagen']).evaluate(tokenizer, ImageFolder(write_images(tmp_path)), batch_size=1)
    assert spoil.calls == 7


def broken_in(image: int) -> Tensor:
    values = torch.zeros(3, 2)
    values[image, 1] = float('inf')
    return values.as_subclass(Pretended)


def test_the_first_error_counts_also_before_another(gpu: PretendedGPU) -> None:
    def evaluation() -> None:
        with deferred_checks():
            check_finite_images(broken_in(1), 'x', 3, 'y')
            check_finite_images(broken_in(0), 'x', 3, 'y')
            raise UserError('what became of it')

    with pytest.raises(NonFiniteError, match='x of image 1 are not finite'):
        evaluation()


def test_an_error_comes_once_it_has_arrived(gpu: PretendedGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = []

    def evaluation() -> None:
        with deferred_checks():
            check_finite_images(broken_in(2), 'x', 3, 'y')
            reached.append('the next batch')
            monkeypatch.setattr(LateEvent, 'arrived', True)
            check_finite_images(broken_in(0), 'x', 3, 'y')
            reached.append('never')

    with pytest.raises(NonFiniteError, match='x of image 2 are not finite'):
        evaluation()
    assert reached == ['the next batch']


def test_without_deferral_an_error_comes_at_once(gpu: PretendedGPU) -> None:
    with pytest.raises(NonFiniteError, match='x of image 0 are not finite'):
        check_finite_images(broken_in(0), 'x', 3, 'y')


@pytest.mark.filterwarnings('ignore:.*pin_memory', 'ignore:.*CUDA is not available')
def test_extraction_waits_for_a_batch_only_after_the_next(
    tmp_path: Path, gpu: PretendedGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, spoil, tokenizer = [], NaNInTheFourth(), tokenizer_on_gpu()
    tokenizer.encoder.register_forward_hook(lambda module, args, output: order.append('batch') or spoil(output))
    monkeypatch.setattr(LateEvent, 'synchronize', lambda event: order.append('wait'))
    images, crops = ImageFolder(write_images(tmp_path)), parse_crops(['center'], 32)
    plan = Manifest(
        tokenizer.layout(32, 32),
        '',
        '',
        crops.to_dict(),
        'float32',
        0,
        '',
        len(images),
        '',
        shard_size=16,
        moments=False,
    )
    reader = ShardReader(ImageWindows(images, crops, 0), plan, 0.0, batch_size=1, num_workers=0)
    with pytest.raises(NonFiniteError, match=r'images from .*3\.png to .*3\.png: .*latents of image 0'):
        list(reader.read([0], tokenizer, 'float32', lambda count: None))
    assert order[:3] == ['batch', 'batch', 'wait']
    assert order.count('batch') == 5
