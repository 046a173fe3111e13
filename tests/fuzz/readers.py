"""Every reader of files that commands are given, each with a tiny file of our own writer's."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from fvq.demo.uploads import read_photo
from fvq_core.config.data import config_data
from fvq_core.config.read import load_config
from fvq_core.data import ImageFolder, TarShards
from fvq_core.data.decoding import decode
from fvq_core.data.list_file import read_list
from fvq_core.errors import UserError
from fvq_core.files.torch_weights import read_state_dict
from fvq_core.registry import MODELS
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.checkpoint import read_checkpoint, write_checkpoint
from fvq_core.training.hooks.history import History
from fvq_core.training.load_task import load_task
from fvq_core.training.runner import Runner
from fvq_eval.reconstruction.tokbench.face_alignment import TEMPLATE
from fvq_eval.reconstruction.tokbench.face_similarity import read_faces
from fvq_eval.reconstruction.tokbench.text_reading import read_words
from fvq_eval.runs.measurements import find_measurements
from fvq_eval.runs.run import read_run
from fvq_eval.samples.open_samples import open_samples
from fvq_eval.statistics.image_set import ImageSetStatistics
from fvq_generators.codes_store import CodesStore, open_codes
from fvq_generators.data.caption_features import CaptionError, read_features
from fvq_generators.pretrained import load_generator, save_generator
from fvq_quantizers.inits.file_init import FileInit

from ..eval.image_sets import random_pixels, save_folder, save_npz, save_zip
from ..eval.two_ranks import statistics
from ..generators.test_codes_store import plan, some_codes, write
from ..generators.tiny import tiny_generator, write_codes
from ..pictures import gradient, picture
from ..tiny import tiny_tokenizer, tokenizer_config
from .damage import CANARY

MODEL = dict(type='TokenizerTask', tokenizer=tokenizer_config(), reconstruction_loss=dict(type='L2Loss'))
LLAMAGEN_LAYOUT = dict(type='Grid', height=3, width=4, codebook_size=32)


@dataclass(frozen=True)
class Reader:
    """A reader, and how its files are made.

    Attributes:
        make: Writes them into an empty folder.
        read: Reads them; returns refusals that it does not raise.
        cases: Number of damaged files in the suite.
        refusals: Errors that are documented for a damaged file.
        names_file: Whether its messages say which file; those of an image are completed by whoever has its name.
        undamaged: Names of files that are only there to be left alone.
        good: Whether its files can be read as they are.
    """

    make: Callable[[Path], Any]
    read: Callable[[Path], Sequence[str] | None]
    cases: int = 60
    refusals: tuple[type[Exception], ...] = (UserError,)
    names_file: bool = True
    undamaged: tuple[str, ...] = ('README.md',)
    good: bool = True


def nothing(_: Any) -> None:
    """Without refusals beside those that are raised."""


def make_checkpoint(folder: Path) -> None:
    config = config_data(dict(model=MODEL, randomness=dict(seed=0)))
    state = MODELS.build(MODEL).state_dict()
    meta = dict(config=config, iter=1, seed=0, format_version=2, fvq_version='0.2.0', torch_version='2.11.0')
    write_checkpoint({'state_dict': state, 'ema_state_dict': state, 'meta': meta}, folder / 'iter_1.pth')


RUNNERS: dict[Path, Runner] = {}


def make_resumable(folder: Path) -> None:
    """The checkpoint of one iteration, and its Runner, which resumes it."""
    options = {
        'train_dataloader.batch_size': 2,
        'val_dataloader.dataset.crops': 2,
        'train_cfg.max_iters': 1,
        'default_hooks.report': None,
        'model.tokenizer': tokenizer_config(),
    }
    RUNNERS[folder] = Runner.from_cfg(load_config('configs/mini/vq.py', options, work_dir=str(folder / 'run')))
    RUNNERS[folder].train()
    (folder / 'run/iter_1.pth').rename(folder / 'iter_1.pth')
    shutil.rmtree(folder / 'run')


def resume(folder: Path) -> None:
    (folder / 'run').mkdir(exist_ok=True)
    RUNNERS[folder].resume(str(folder / 'iter_1.pth'))


class Hostile:
    """Pickled, it asks for a folder to be made."""

    def __reduce__(self) -> Any:
        return os.mkdir, (CANARY,)


def save_peer(path: Path, zipped: bool = True, **more: Any) -> None:
    """A training checkpoint of another project's."""
    weights = {f'module.layers.{n}.weight': torch.randn(4, 3) for n in range(3)}
    content = {'model': weights, 'ema': {}, 'optimizer': {'state': {0: torch.ones(2)}}, 'steps': 7, **more}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


def make_captions(folder: Path) -> None:
    np.save(folder / 'caption.npy', np.arange(12, dtype=np.float32).reshape(1, 4, 3))


def read_store(folder: Path) -> None:
    store = CodesStore(folder)
    for image in range(len(store)):
        store.label(image), store.all_codes(image)
    store.verify()


def read_llamagen(folder: Path) -> None:
    store = open_codes(folder, LLAMAGEN_LAYOUT)
    for image in range(len(store)):
        store.label(image), store.codes(image, 0)


def read_samples(path: Path) -> None:
    samples = open_samples(str(path))
    blocks = range(samples.blocks)
    samples.check_whole(list(samples.digests(blocks)))
    for _ in samples.read(blocks):
        pass


def make_zip(folder: Path) -> None:
    source = folder.with_name('zip_source')
    save_folder(random_pixels(5, 8), source)
    save_zip(folder / 'samples.zip', source)


def read_statistics(path: Path) -> None:
    found = ImageSetStatistics.load(path)
    found.gaussian('pool'), found.gaussian('spatial'), found.features()


def make_tar(folder: Path) -> None:
    """Three images, two labels and a note."""
    source = folder.with_name('tar_source')
    source.mkdir()
    for number in range(3):
        gradient(9, 8).save(source / f'{number}.{("png", "jpg", "webp")[number]}')
    (source / '0.cls').write_text('3')
    (source / '1.cls').write_text('-1')
    (source / 'note.txt').write_text('x')
    with tarfile.open(folder / 'shard.tar', 'w') as tar:
        for file in sorted(source.iterdir()):
            tar.add(file, file.name)
    TarShards(str(folder / 'shard.tar'), index_dir=str(folder / 'index'))


def read_tar(folder: Path) -> list[str]:
    shards = TarShards(str(folder / 'shard.tar'), index_dir=str(folder / 'index'))
    samples = [shards[number] for number in range(len(shards))]
    reasons = [(sample['unreadable'], reason) for sample in samples for reason in (*sample['reasons'], sample['error'])]
    return [f'{name}: {reason}' for name, reason in reasons if reason]


def read_jpeg_crops(folder: Path) -> list[str]:
    images = ImageFolder(str(folder), [dict(type='ADMRandomCrop', size=8)], decoder='auto')
    return [reason for number in range(len(images)) for reason in images[number]['reasons']]


def make_list(folder: Path) -> None:
    for name in ('cat/1.jpg', 'a dog/2.png', 'Käse.webp'):
        (folder / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / 'images' / name).touch()
    text = '# images\ncat/1.jpg 0\n\n"a dog/2.png" 1\nKäse.webp -1\ncat/1.jpg 2\n'
    (folder / 'list.txt').write_text(text, encoding='utf-8')


def make_history(folder: Path) -> None:
    history = History(folder / 'history.jsonl')
    for iteration in range(1, 6):
        history.append({'iter': iteration, 'split': 'train', 'loss': 1 / iteration, 'usage_window': 50.0})
    history.append({'iter': 5, 'split': 'eval', 'usage': 40.0})


def read_history(folder: Path) -> None:
    history = History(folder / 'history.jsonl')
    assert all(isinstance(row['iter'], int) for row in history.rows())
    history.truncate(3)
    assert all(row['iter'] <= 3 for row in history.rows())


def make_metrics(folder: Path) -> None:
    value = {'value': 1.0, 'unit': 'dB', 'preset': 'strict', 'protocol': 'x', 'samples': 10, 'weights': 'iter_9.pth'}
    document = {
        'metrics': {'psnr': value, 'usage': {**value, 'data': 'val'}},
        'config': 'configs/mini/vq.py',
        'resolved_config': config_data(
            dict(model=MODEL, val_dataloader=dict(dataset=dict(type='ImageFolder', root='x')))
        ),
        'seed': 0,
        'versions': {'fvq-core': '0.2.0'},
        'presets': {'strict': {'name': 'strict', 'codec': None}},
    }
    (folder / 'metrics.json').write_text(json.dumps(document))


def make_run(folder: Path) -> None:
    make_metrics(folder)
    make_history(folder)
    config = config_data(dict(model=MODEL, randomness=dict(seed=0), work_dir='work_dirs/x'))
    (folder / 'resolved_config.json').write_text(json.dumps(config))


def read_codebook(path: Path) -> None:
    FileInit(str(path)).weights(6, 4)


def image_reader(suffix: str, mode: str = 'RGB', **options: Any) -> Reader:
    """The decoder of image files, for one format."""

    def make(folder: Path) -> None:
        image = gradient(24, 20).convert(mode)
        image.save(folder / f'image.{suffix}', **options)

    def read(folder: Path) -> None:
        decode((folder / f'image.{suffix}').read_bytes())

    return Reader(make, read, cases=100, names_file=False)


def deep_png(folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (20, 24), dtype=np.uint16)
    Image.fromarray(values).save(folder / 'image.png')


def see_through(folder: Path) -> None:
    image = gradient(24, 20)
    image.putalpha(picture(24, 20).getchannel('R'))
    image.save(folder / 'image.png')


def photo(folder: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    picture(40, 32).save(folder / 'photo.jpg', quality=80, exif=exif)


WORDS = [
    dict(file_name='a.png', height=8, width=9, annotations=[dict(rec='word', bbox=[1, 2, 5.5, 6], ratio=0.02)]),
    dict(file_name='b.png', height=8, width=9, annotations=[dict(rec='Æ', bbox=[0, 0, 9, 8], ratio=0.5)]),
]
FACES = [
    dict(image_name='a.png', img_height=112, img_width=120, faces=[dict(kps=TEMPLATE, ratio=0.5, box=[1, 2, 3, 4])]),
    dict(image_name='b.png', img_height=90, img_width=80, faces=[dict(kps=TEMPLATE, ratio=0.02)] * 2),
]

READERS: dict[str, Reader] = {
    'saved tokenizer': Reader(
        lambda folder: tiny_tokenizer().save_pretrained(folder, {'weights': 'x', 'metrics': {}}),
        lambda folder: nothing(Tokenizer.from_pretrained(folder)),
        cases=40,
    ),
    'saved generator': Reader(
        lambda folder: save_generator(
            tiny_generator(), tiny_generator().state_dict(), folder, sampling=dict(cfg_scale=1.5, top_k=8)
        ),
        lambda folder: nothing(load_generator(folder)),
        cases=40,
    ),
    'words of TokBench': Reader(
        lambda folder: nothing((folder / 'words.json').write_text(json.dumps(WORDS))),
        lambda folder: nothing(read_words(folder / 'words.json')),
    ),
    'faces of TokBench': Reader(
        lambda folder: nothing((folder / 'faces.json').write_text(json.dumps(FACES))),
        lambda folder: nothing(read_faces(folder / 'faces.json')),
    ),
    'checkpoint': Reader(
        make_checkpoint,
        lambda folder: nothing(load_task(read_checkpoint(folder / 'iter_1.pth'), str(folder / 'iter_1.pth'))),
        cases=40,
    ),
    'resumed run': Reader(make_resumable, resume, cases=40),
    "peer's weights": Reader(
        lambda folder: save_peer(folder / 'peer.pt'), lambda folder: nothing(read_state_dict(folder / 'peer.pt'))
    ),
    "peer's weights, before torch 1.6": Reader(
        lambda folder: save_peer(folder / 'peer.bin', zipped=False),
        lambda folder: nothing(read_state_dict(folder / 'peer.bin')),
    ),
    'hostile weights': Reader(
        lambda folder: save_peer(folder / 'hostile.pt', extra=Hostile()),
        lambda folder: nothing(read_state_dict(folder / 'hostile.pt')),
        good=False,
    ),
    'safetensors weights': Reader(
        lambda folder: save_file({'a.weight': torch.ones(3, 4), 'a.bias': torch.ones(3)}, folder / 'peer.safetensors'),
        lambda folder: nothing(read_state_dict(folder / 'peer.safetensors')),
    ),
    'codebook npy': Reader(
        lambda folder: np.save(folder / 'codebook.npy', np.ones((6, 4), np.float32)),
        lambda folder: read_codebook(folder / 'codebook.npy'),
    ),
    'codebook safetensors': Reader(
        lambda folder: save_file({'codebook': torch.ones(6, 4)}, folder / 'codebook.safetensors'),
        lambda folder: read_codebook(folder / 'codebook.safetensors'),
    ),
    'codebook pt': Reader(
        lambda folder: torch.save(torch.ones(6, 4), folder / 'codebook.pt'),
        lambda folder: read_codebook(folder / 'codebook.pt'),
    ),
    'codes store': Reader(lambda folder: write(folder, plan(), some_codes(plan())), read_store),
    "LlamaGen's codes": Reader(lambda folder: write_codes(folder, images=2), read_llamagen),
    'statistics': Reader(
        lambda folder: statistics(list(range(4)), 4).save(folder / 'statistics.npz'),
        lambda folder: read_statistics(folder / 'statistics.npz'),
        cases=30,
    ),
    "ADM's statistics": Reader(
        lambda folder: np.savez(folder / 'adm.npz', mu=np.ones(4), sigma=np.eye(4), mu_s=np.ones(3), sigma_s=np.eye(3)),
        lambda folder: read_statistics(folder / 'adm.npz'),
    ),
    'samples npz': Reader(
        lambda folder: save_npz(random_pixels(5, 8), folder / 'samples.npz', np.arange(5)),
        lambda folder: read_samples(folder / 'samples.npz'),
    ),
    'compressed samples npz': Reader(
        lambda folder: save_npz(random_pixels(5, 8), folder / 'samples.npz', np.arange(5), compressed=True),
        lambda folder: read_samples(folder / 'samples.npz'),
    ),
    'samples zip': Reader(make_zip, lambda folder: read_samples(folder / 'samples.zip')),
    'tar shard and its index': Reader(make_tar, read_tar, cases=150),
    'PNG': image_reader('png'),
    'PNG with a palette': image_reader('png', 'P'),
    'PNG of 16 bits': Reader(deep_png, lambda f: nothing(decode((f / 'image.png').read_bytes())), 60, names_file=False),
    'upload of the demo page': Reader(see_through, lambda f: nothing(read_photo(f / 'image.png')), names_file=False),
    'JPEG': image_reader('jpg'),
    'JPEG, CMYK': image_reader('jpg', 'CMYK'),
    'WebP': image_reader('webp', lossless=True),
    'TIFF': image_reader('tiff'),
    'TIFF, compressed': image_reader('tiff', compression='tiff_lzw'),
    'GIF': image_reader('gif', 'P'),
    'BMP': image_reader('bmp'),
    'JPEG cropped while it is decoded': Reader(photo, read_jpeg_crops, names_file=False),
    'list file': Reader(
        make_list,
        lambda folder: nothing(read_list(str(folder / 'list.txt'), str(folder / 'images'))),
        cases=150,
        undamaged=('1.jpg', '2.png', 'Käse.webp'),
    ),
    'caption features': Reader(
        make_captions,
        lambda folder: nothing(read_features(folder / 'caption.npy', 4, 3)),
        cases=150,
        refusals=(UserError, CaptionError),
        names_file=False,
    ),
    'history': Reader(make_history, read_history, cases=150),
    'metrics': Reader(
        make_metrics,
        lambda folder: [f'{file}: {why}' for file, why in find_measurements([str(folder)]).left_out],
    ),
    'run': Reader(make_run, lambda folder: nothing(read_run(folder)), cases=100),
}
