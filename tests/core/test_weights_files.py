"""Other people's weights files: read whole whatever they hold beside the weights, and never run."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import io
import os
import pathlib
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fvq_core.files.torch_weights import CheckpointError, candidates, parts, read_state_dict, read_weights_file

STATE = {'encoder.conv.weight': torch.arange(6.0).view(2, 3), 'quantize.embedding.weight': torch.arange(8.0).view(4, 2)}
ZEROS = {key: torch.zeros_like(value) for key, value in STATE.items()}


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor] = STATE) -> None:
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key


def save(content: Any, folder: Path, **options: Any) -> Path:
    path = folder / 'file.ckpt'
    torch.save(content, path, **options)
    return path


@pytest.fixture
def foreign() -> Iterator[Callable[..., Any]]:
    """Makes classes of a package that is installed while a file is written and not when it is read."""
    made = types.ModuleType('their_package')
    sys.modules['their_package'] = made

    def make(name: str, *bases: type, **attributes: Any) -> type:
        kind = type(name, bases, {'__module__': 'their_package', **attributes})
        setattr(made, name, kind)
        return kind

    yield make
    sys.modules.pop('their_package', None)


class Trace:
    """Unpickling it would make a folder, by a function that no list of forbidden ones has."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return leave_trace, (self.path,)


def leave_trace(path: str) -> None:
    Path(path).mkdir()


class Colour(enum.Enum):
    RED = 1


class Buffer:
    """Like mmengine's history: nested classes and methods, which protocol 2 writes as calls of getattr."""

    class Kind(enum.Enum):
        MEAN = 'mean'

    def mean(self) -> float:
        return 0.0

    def __init__(self) -> None:
        self.kind, self.statistics = self.Kind.MEAN, {'mean': Buffer.mean, 'bound': self.mean}


EXTRAS: dict[str, Any] = {
    'message_hub': {'loss': Buffer()},
    'args': argparse.Namespace(lr=1e-4, ema=False, out=pathlib.PurePosixPath('runs'), nested=argparse.Namespace(a=[1])),
    'optimizer': {
        'state': {0: {'step': torch.tensor(3.0), 'exp_avg': torch.ones(2, 3)}},
        'param_groups': [{'lr': 1e-4}],
    },
    'rng': [torch.get_rng_state(), np.random.RandomState(0).get_state(), (3, (1, 2), None)],
    'when': datetime.datetime(2024, 1, 1),
    'numpy': [np.float32(1.5), np.int64(3), np.arange(3), np.dtype('float32'), np.array(['text', None], dtype=object)],
    'torch': [torch.Size([1, 2]), torch.float16, torch.device('cpu'), torch.strided],
    'plain': [
        Colour.RED,
        {1, 2},
        frozenset([3]),
        bytearray(b'ab'),
        b'c',
        1j,
        slice(1, 2),
        range(3),
        ...,
        None,
        True,
        2**80,
    ],
    'collections': [collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), collections.Counter('aab')],
    'queue': collections.deque([1, 2], maxlen=4),
    'keys': {torch.float32: 1, (1, 'a'): 2, 3: 4, Colour.RED: 5},
    'sparse': torch.eye(3).to_sparse(),
}


@pytest.mark.parametrize('options', [{}, dict(pickle_protocol=4), dict(pickle_protocol=5), dict(legacy=True)])
@pytest.mark.parametrize('extra', EXTRAS)
def test_objects_beside_the_weights_are_passed_over(extra: str, options: dict[str, Any], tmp_path: Path):
    options = dict(options)
    if options.pop('legacy', False):
        options['_use_new_zipfile_serialization'] = False
    path = save({extra: EXTRAS[extra], 'model': STATE}, tmp_path, **options)
    (best, *_) = candidates(read_weights_file(path))
    assert_same(best.state)
    assert best.name == 'model'
    assert best.note().startswith(f"weights of 'model'; left out: {extra}")


def test_lightning_file_with_objects_of_packages_that_are_not_here(tmp_path: Path, foreign: Callable[..., Any]):
    attribute_dict = foreign('AttributeDict', dict)
    config = foreign('DictConfig')
    callback = foreign('ModelCheckpoint', __getstate__=lambda self: dict(best=1.0, where=pathlib.PurePosixPath('a')))
    slotted = foreign('Slotted', __slots__=('value',))
    one = slotted()
    one.value = config()
    content = {
        'epoch': 3,
        'global_step': 100,
        'pytorch-lightning_version': '1.9.0',
        'state_dict': collections.OrderedDict(STATE),
        'loops': {'fit_loop': {'state_dict': {}, 'epoch_progress': {'current': {'ready': 3}}}},
        'callbacks': {"ModelCheckpoint{'monitor': None}": {'best_model_score': torch.tensor(0.1), 'it': callback()}},
        'optimizer_states': [{'state': {0: {'exp_avg': torch.ones(6, 7)}}, 'param_groups': []}],
        'lr_schedulers': [one],
        'hparams_name': 'kwargs',
        'hyper_parameters': attribute_dict(lr=1e-4, config=config()),
    }
    path = save(content, tmp_path)
    del sys.modules['their_package']
    (best, *_) = candidates(read_weights_file(path))
    assert_same(best.state)
    assert best.name == 'state_dict'
    assert 'hyper_parameters (their_package.AttributeDict)' in best.note()


@pytest.mark.parametrize(
    ('content', 'name'),
    [
        (STATE, ''),
        ({'model': {'state_dict': STATE}}, 'model.state_dict'),
        ({'trainer': {'vae_wo_ddp': STATE, 'vae_opt': {'exp_avg': torch.ones(1)}}, 'args': {}}, 'trainer.vae_wo_ddp'),
        ({'model': ZEROS, 'ema': STATE, 'steps': 3}, 'ema'),
        ({'model': STATE, 'ema': {}}, 'model'),
        ({'model': STATE, 'ema': None}, 'model'),
        ({'state_dict': ZEROS, 'state_dict_ema': STATE}, 'state_dict_ema'),
        ({'state_dict': ZEROS, 'ema_state_dict': {'steps': torch.tensor(3), **STATE}}, 'ema_state_dict'),
        ({'model': ZEROS, 'model_ema': STATE}, 'model_ema'),
        ({'params': ZEROS, 'params_ema': STATE}, 'params_ema'),
        ({'net': {'raw': ZEROS, 'EMA': STATE}}, 'net.EMA'),
        ({'module': STATE, 'ds_config': {'a': 1}, 'optimizer': None}, 'module'),
        ([STATE, {'lr': 1}], '0'),
        ((3, {'model': STATE}), '1.model'),
        ({'remap': STATE}, 'remap'),
        ({'optimized': STATE, 'vae_opt': {'exp_avg': torch.ones(1)}}, 'optimized'),
        ({'model': {key: nn.Parameter(value) for key, value in STATE.items()}}, 'model'),
        ({'model': {key: value.numpy() for key, value in STATE.items()}}, 'model'),
    ],
)
def test_the_state_dict_is_found_wherever_it_is_and_averages_go_first(content: Any, name: str, tmp_path: Path):
    (best, *_) = candidates(read_weights_file(save(content, tmp_path)))
    assert_same(best.state)
    assert best.name == name


@pytest.mark.parametrize(
    'wrapped',
    [
        'module.{}',
        '_orig_mod.{}',
        'module._orig_mod.{}',
        '_orig_mod.module.module.{}',
        '_fsdp_wrapped_module.{}',
        '_forward_module._orig_mod.{}',
    ],
)
def test_names_of_wrapping_modules_leave_the_keys(wrapped: str, tmp_path: Path):
    state = {wrapped.format(key): value for key, value in STATE.items()}
    assert_same(read_state_dict(save({'model': state}, tmp_path)))
    within = {key.replace('.', f'.{wrapped.format("")}', 1): value for key, value in STATE.items()}
    assert_same(read_state_dict(save(within, tmp_path)))


def test_parts_of_a_state_dict_go_from_the_outside_inwards_and_averages_first():
    state = {f'{name}.{key}': value for name in ('online_model', 'ema_model') for key, value in STATE.items()}
    (whole,) = candidates({**state, 'initted': torch.tensor(1), 'step': torch.tensor(5)})
    first, second, third, *_ = parts(whole)
    assert (first.name, second.name, third.name) == ('', 'ema_model', 'online_model')
    assert_same(second.state)
    assert second.left_out == ('online_model.*',)


def test_what_ema_pytorch_averages_is_not_the_average(tmp_path: Path):
    average = {f'online_model.{key}': value for key, value in ZEROS.items()}
    average |= {f'ema_model.{key}': value for key, value in STATE.items()} | {'step': torch.tensor(3)}
    (found,) = candidates(read_weights_file(save({'ema': average}, tmp_path)))
    _, best, other = list(parts(found))[:3]
    assert (best.name, best.averaged, other.name, other.averaged) == ('ema.ema_model', True, 'ema.online_model', False)
    assert_same(best.state)


def test_a_key_that_is_there_wrapped_and_bare_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"key 'module\.encoder\.conv\.weight' is there twice"):
        read_state_dict(save({**STATE, 'module.encoder.conv.weight': torch.zeros(2, 3)}, tmp_path))


def test_an_average_has_what_it_lacks_from_the_raw_weights(tmp_path: Path):
    buffers = {'norm.running_mean': torch.ones(2)}
    best, raw = candidates(read_weights_file(save({'model': {**ZEROS, **buffers}, 'ema': STATE}, tmp_path)))
    assert_same(best.state, {**STATE, **buffers})
    assert_same(raw.state, {**ZEROS, **buffers})


def test_the_average_inside_a_state_dict_of_latent_diffusion(tmp_path: Path):
    averages = {f'model_ema.{key.replace(".", "")}': value for key, value in STATE.items()}
    counters = {'model_ema.decay': torch.tensor(0.9), 'model_ema.num_updates': torch.tensor(3)}
    best, raw = candidates(read_weights_file(save({'state_dict': {**ZEROS, **averages, **counters}}, tmp_path)))
    assert (best.name, raw.name) == ('state_dict.model_ema', 'state_dict')
    assert_same(best.state)
    assert_same(raw.state, ZEROS)


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.filterwarnings('ignore:Couldn.t retrieve source code')
def test_a_module_that_was_saved_whole(legacy: bool, tmp_path: Path, foreign: Callable[..., Any]):
    kind = foreign('Net', nn.Module)
    net = kind()
    net.encoder, net.quantize = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), nn.Embedding(4, 2)
    path = save({'vae': net}, tmp_path, _use_new_zipfile_serialization=not legacy)
    wanted = net.state_dict()
    del sys.modules['their_package']
    assert_same(read_state_dict(path), dict(wanted))


def test_dtypes_views_and_shared_storages_are_those_of_torch(tmp_path: Path):
    base = torch.arange(24.0).view(4, 6)
    names = ('float64', 'float16', 'bfloat16', 'int8', 'uint8', 'int16', 'int32', 'int64', 'bool', 'complex64')
    content = {name: torch.arange(6).view(2, 3).to(getattr(torch, name)) for name in names}
    content |= dict(base=base, transposed=base.t(), part=base[1:3, ::2], row=base[2], expanded=base[:1].expand(5, 6))
    content |= dict(empty=torch.empty(0, 3))
    untyped = dict(float8=base.to(torch.float8_e4m3fn), uint16=torch.tensor([1, 2**16 - 1], dtype=torch.uint16))
    for zipped in (True, False):  # torch itself cannot read untyped storages of the old format
        path = save(content | (untyped if zipped else {}), tmp_path, _use_new_zipfile_serialization=zipped)
        wanted = torch.load(path, weights_only=True)
        found = read_weights_file(path)
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert found[key].dtype == value.dtype, key
            assert torch.equal(found[key].contiguous().view(torch.uint8), value.contiguous().view(torch.uint8)), key


def test_safetensors_are_known_by_their_content(tmp_path: Path):
    save_file(STATE, tmp_path / 'model.bin', metadata={'format': 'pt', 'config': '{"a": 1}'})
    assert_same(read_state_dict(tmp_path / 'model.bin'))
    torch.save(STATE, tmp_path / 'model.safetensors')
    assert_same(read_state_dict(tmp_path / 'model.safetensors'))
    with pytest.raises(
        CheckpointError, match=r'is a folder; give one of the files in it: model\.bin, model\.safetensors'
    ):
        read_state_dict(tmp_path)


@pytest.mark.parametrize('zipped', [True, False])
def test_functions_in_a_file_are_never_called(zipped: bool, tmp_path: Path):
    path = save({'model': STATE, 'hook': Trace(tmp_path / 'trace')}, tmp_path, _use_new_zipfile_serialization=zipped)
    assert_same(read_state_dict(path))
    assert not (tmp_path / 'trace').exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / 'trace').exists(), 'the file is harmless, so this test shows nothing'


@pytest.mark.parametrize(
    ('function', 'arguments'),
    [
        (os.system, ('true',)),
        (eval, ('1',)),
        (exec, ('1',)),
        (getattr, ('a', 'upper')),
        (getattr, (__import__('subprocess').Popen, 'poll')),
        (__import__, ('os',)),
        (__import__('subprocess').Popen, (['true'],)),
        (torch.load, ('file',)),
        (__import__('shutil').rmtree, ('file',)),
    ],
)
def test_a_file_that_asks_for_a_program_is_refused_by_name(function: Any, arguments: Any, tmp_path: Path):
    class Hostile:
        def __reduce__(self) -> Any:
            return function, arguments

    path = save({'model': STATE, 'args': Hostile()}, tmp_path)
    with pytest.raises(CheckpointError, match=rf'was refused: it asks for [\w.]+\.{function.__name__} to be called'):
        read_state_dict(path)


def repacked(path: Path, change: Callable[[str, bytes], bytes] = lambda name, data: data, compression: int = 0) -> None:
    """The archive with changed records."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))


def test_a_bomb_in_an_archive_is_refused(tmp_path: Path):
    path = save({'weight': torch.zeros(1_000_000)}, tmp_path)
    repacked(path, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match='compressed or lies about its sizes'):
        read_state_dict(path)


def test_sizes_that_lie_are_refused(tmp_path: Path):
    path = save(STATE, tmp_path)
    repacked(path, lambda name, data: data[:8] if '/data/' in name else data)
    with pytest.raises(CheckpointError, match='a storage of 24 bytes is to lie in 8'):
        read_state_dict(path)
    path = save(STATE, tmp_path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    last = max((content.rfind(struct.pack('<q', value.numel())), value.numel()) for value in STATE.values())[1]
    assert content[-4 * last - 8 : -4 * last] == struct.pack('<q', last)
    path.write_bytes(content[: -4 * last - 8] + struct.pack('<q', 2**60) + content[-4 * last :])
    with pytest.raises(CheckpointError, match='the file is truncated'):
        read_state_dict(path)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('keep', [0.0, 0.02, 0.5, 0.97])
def test_truncated_files_are_refused_in_one_line(keep: float, zipped: bool, tmp_path: Path):
    path = save({'model': STATE, **EXTRAS}, tmp_path, _use_new_zipfile_serialization=zipped)
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(CheckpointError, match=r'^.*file\.ckpt (was refused: [^\n]*|is not a checkpoint)\.$'):
        read_state_dict(path)


def bytes_opcode(size: int) -> bytes:
    return b'\x80\x04\x8e' + struct.pack('<Q', size) + b'abc.'


PICKLES = {
    'memo': b'\x80\x02]r\xff\xff\xff\x7f}.',  # a memo index of two billion
    'bytes': bytes_opcode(2**50),
    'bytearray': b'\x80\x05\x96' + struct.pack('<Q', 2**46) + b'abc.',
    'nested': b'\x80\x02' + b'](' * 100_000 + b'e' * 100_000 + b'.',
    'hash': b'\x80\x02)'
    + b'\x85q\x00'
    + b'h\x00h\x00\x86q\x00' * 60
    + b'}h\x00K\x01s.',  # a tuple of 2^60 leaves as a key
    'int': b'\x80\x02L' + b'9' * 100_000 + b'\n.',
    'extension': b'\x80\x02\x82\x01.',
    'empty stack': b'\x80\x02a.',
    'no end': b'\x80\x02}',
    'no mark': b'\x80\x02}u.',
    'itself': b'\x80\x02]q\x00h\x00a.',
    'reduce': b'\x80\x02]]R.',
    'build': b'\x80\x02K\x01]b.',
    'items of a number': b'\x80\x02K\x01K\x02K\x03s.',
}


@pytest.mark.parametrize('name', PICKLES)
def test_hostile_pickles_cost_a_line(name: str, tmp_path: Path):
    """No memory that the file has not got, no recursion, no hashing of what is endless."""
    path = tmp_path / 'file.ckpt'
    path.write_bytes(PICKLES[name])
    with pytest.raises(CheckpointError, match=r'^.*file\.ckpt (was refused: [^\n]*|holds no state dict)\.$'):
        read_state_dict(path)


def test_nothing_but_the_first_object_of_a_plain_pickle_is_read(tmp_path: Path):
    path = tmp_path / 'file.ckpt'
    path.write_bytes(pickle.dumps({key: value.numpy() for key, value in STATE.items()}) + b'\x80\x02cos\nsystem\n')
    assert_same(read_state_dict(path))


def rebuilt(offset: Any, size: Any, stride: Any, storage: Tensor = STATE['encoder.conv.weight']) -> Any:
    class Rebuilt:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (storage._typed_storage(), offset, size, stride, False, {})

    return Rebuilt()


@pytest.mark.parametrize(
    'view',
    [
        (0, (7,), (1,)),
        (3, (4,), (1,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (2, 3), (1,)),
        (0, (2**40, 8), (0, 0)),
        (0, (2,) * 60, (0,) * 60),
        (0, (2**63,), (0,)),
        (0, ('2',), (1,)),
    ],
)
def test_a_tensor_outside_its_storage_is_not_one(view: Any, tmp_path: Path):
    content = read_weights_file(save({'weight': rebuilt(*view), **STATE}, tmp_path))
    assert not isinstance(content['weight'], Tensor)
    assert_same(candidates(content)[0].state)


def test_a_key_far_beyond_the_file_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r'layers\.999999\.weight. counts further than the 3 tensors'):
        read_state_dict(save({**STATE, 'layers.999999.weight': torch.zeros(1)}, tmp_path))


def test_names_out_of_a_file_are_printable(tmp_path: Path):
    (best, *_) = candidates(read_weights_file(save({'model': STATE, '\x1b[2J|<b>': 1}, tmp_path)))
    assert best.note() == "weights of 'model'; left out: ??2J??b?"


def test_a_torchscript_program_is_refused(tmp_path: Path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), str(tmp_path / 'program.pt'))
    with pytest.raises(CheckpointError, match='TorchScript program; save the state dict'):
        read_state_dict(tmp_path / 'program.pt')


def test_any_other_zip_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / 'photos.pt', 'w') as archive:
        archive.writestr('photos/1.jpg', b'')
    with pytest.raises(CheckpointError, match=r'zip archive that torch\.save did not write'):
        read_state_dict(tmp_path / 'photos.pt')


def test_weights_do_not_change_the_file(tmp_path: Path):
    path = save(STATE, tmp_path)
    before = path.read_bytes()
    read_state_dict(path)['encoder.conv.weight'].fill_(7.0)
    assert path.read_bytes() == before
    assert io.BytesIO(before).read(2) == b'PK'
