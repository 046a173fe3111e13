"""A folder of photographs instead of every config's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.photos import BundledPhotos
from fvq_core.data.transforms import ADMRandomCrop, HorizontalFlip
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS

from .crop_list import LIST_NAME, fix_crop_list
from .photo_files import check_apart, digest, photo_sizes
from .photo_tiles import PhotoTiles
from .run import REQUEST, RUNS

# A crop covers a quarter to a half of the short side of a photo: detail as in photos taken at full size, and many
# different crops of each.
FRACTIONS = dict(min_fraction=0.25, max_fraction=0.5)
SCORED_ON = ('val', 'eval')
TUNE = 'tune'  # photos that settings are chosen on


def photo_folders(root: str, scored_on: Sequence[str] = SCORED_ON) -> tuple[Path, Path]:
    """The training and evaluation folders of `--data`.

    Args:
        scored_on: Names that the second may have.
    """
    folder = Path(root).expanduser()
    train = folder / 'train'
    evaluation = next((folder / name for name in scored_on if (folder / name).is_dir()), None)
    if not train.is_dir() or evaluation is None:
        names = f'{scored_on[0]}/' + ''.join(f' (or {name}/)' for name in scored_on[1:])
        raise UserError(f'benchmark: --data {root} must hold the folders train/ and {names} of images.')
    return train.resolve(), evaluation.resolve()


def use_photos(
    configs: Sequence[Config],
    root: str,
    crops: int,
    work_dir: Path,
    write: bool = True,
    scored_on: Sequence[str] = SCORED_ON,
) -> int:
    """Make configs train on the photos of `root/train` and evaluate on fixed crops of those of `root/val`.

    Batch sizes and the size of the crops stay. Training photos stay on the device if they fit. Each config also records which
    photos these are, by name and size, so that a run on others is another run. Configs that are scored on `PhotoTiles` keep
    their crops and tiles, and take only the folders.

    Args:
        configs: Changed in place.
        crops: Fewest evaluation crops.
        work_dir: Folder with the list of evaluation crops; it stays as it is once a run was made.
        write: Whether the list may be written.
        scored_on: Names that the folder of the evaluation may have.

    Returns:
        Evaluation crops.

    Raises:
        UserError: Folders or photos are missing, a photo is in both, some configs are scored on tiles and others are not, or
            the list does not fit; see `fix_crop_list`.
    """
    train, evaluation = photo_folders(root, scored_on)
    of_train, of_evaluation = photo_sizes(train), photo_sizes(evaluation)
    check_apart(train, evaluation, of_train, of_evaluation)
    tiled = [has_tiles(cfg.val_dataloader['dataset']) for cfg in configs]
    if any(tiled):
        if not all(tiled):
            raise UserError(
                'benchmark: some rows are scored on tiles of the photos, others on crops; benchmark them apart.'
            )
        for cfg in configs:
            cfg.train_dataloader['dataset'].update(root=str(train))
            cfg.val_dataloader['dataset'].update(root=str(evaluation))
            cfg.photos = dict(train=digest(of_train), evaluation=digest(of_evaluation))
        return len(of_evaluation) * tiles_of(configs[0].val_dataloader['dataset'])
    crop_list = work_dir.resolve() / LIST_NAME
    fixed = not write or any((work_dir / RUNS).rglob(REQUEST))
    text = fix_crop_list(crop_list, list(of_evaluation), crops, fixed)
    photos = dict(train=digest(of_train), evaluation=digest([of_evaluation, text]))
    for cfg in configs:
        size = crop_size(cfg.train_dataloader['dataset'])
        crop = dict(type=ADMRandomCrop, size=size, upsample=True, **FRACTIONS)
        cfg.train_dataloader['dataset'] = ConfigDict(
            type=ImageFolder, root=str(train), transforms=[crop, dict(type=HorizontalFlip)]
        )
        cfg.train_dataloader['on_device'] = 'auto'
        cfg.val_dataloader['dataset'] = ConfigDict(  # of one seed, so that every run is scored on the same crops
            type=ImageFolder, root=str(evaluation), list_file=str(crop_list), transforms=[crop], seed=0
        )
        cfg.photos = photos
    return text.count('\n')


def scored_photos(plan: Mapping[str, Any]) -> set[str]:
    """What the evaluation photos of a config are known by: two configs that share one are scored on the same photos.

    These are their digest and their folder; of data without a folder, such as the bundled photos, the kind of data set.

    Args:
        plan: The config in JSON's types.
    """
    dataset = plan['val_dataloader']['dataset']
    known = ((plan.get('photos') or {}).get('evaluation'), dataset.get('root'))
    return {str(each) for each in known if each is not None} or {str(dataset['type'])}


def labels_are_photos(dataset: Any) -> bool:
    """Whether the labels of an evaluation set's config number its photos; elsewhere they are classes."""
    return is_bundled(dataset) or has_tiles(dataset) or Path(dataset.get('list_file') or '').name == LIST_NAME


def has_tiles(dataset: Any) -> bool:
    """Whether a data set's config is of tiles."""
    return DATASETS.resolve(dataset['type']) is PhotoTiles


def tiles_of(dataset: Any) -> int:
    """Tiles of a photo in a config of `PhotoTiles`."""
    return (dataset['side'] // dataset['crop_size']) ** 2


def is_bundled(dataset: Any) -> bool:
    """Whether a data set's config is of the bundled photos."""
    return DATASETS.resolve(dataset['type']) is BundledPhotos


def crop_size(dataset: Any) -> int:
    """The side of the crops of a data set's config."""
    sizes = [dataset.get('crop_size'), *(transform.get('size') for transform in dataset.get('transforms', ()))]
    found = next((size for size in sizes if size), None)
    if found is None:
        kind = DATASETS.resolve(dataset['type']).__name__
        raise UserError(
            f'benchmark: expected data with the size of its crops in the config, got {kind}; rows that train on a store take '
            'neither --data nor --generator.'
        )
    return found
