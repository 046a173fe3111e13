"""Images in a zip file, read in place: nothing of it is ever extracted."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fvq_core.data.decoding import UnreadableImageError
from fvq_core.data.folder_listing import EXTENSIONS, is_hidden, warn_left_out
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.data.packed_names import PackedNames
from fvq_core.errors import UserError
from fvq_core.files.arrays import DAMAGED, check_ratio
from fvq_core.files.bounded import regular_size


class ZipImages(ImageDataset):
    """RGB images of a zip, in the order that they have in the folder which was zipped.

    Class folders give labels as in `ImageFolder`; a single folder around everything is no class. A member whose name leads
    out of the archive is read like any other, since nothing is written.

    Args:
        path: The archive.

    Raises:
        UserError: It is damaged or encrypted, or has no image.
    """

    def __init__(self, path: str) -> None:
        super().__init__(exif_orientation='ignore')
        regular_size(path, 'name a zip file')
        self.path = path
        with reading(path):
            self.archive = zipfile.ZipFile(path)
        files = [info for info in self.archive.infolist() if not info.is_dir() and not is_hidden(info.filename)]
        images = [info for info in files if info.filename.lower().endswith(EXTENSIONS)]
        if not images:
            raise UserError(
                f'{path}: expected images ({", ".join(EXTENSIONS)}), got a zip without any; zip the folder of images.'
            )
        if len(files) > len(images):
            warn_left_out(f'{path}: {len(files) - len(images):,} members are no images and are left out')
        top = common_folder([info.filename for info in images])
        inside = {id(info): info.filename.removeprefix(top) for info in images}
        images.sort(key=lambda info: ('/' not in inside[id(info)], inside[id(info)]))  # as folders are listed
        folders = [inside[id(info)].rpartition('/')[0].partition('/')[0] for info in images]
        classes = {name: number for number, name in enumerate(sorted(set(folders) - {''}))}
        self.members = images
        self.names = PackedNames.pack(info.filename for info in images)
        self.labels = np.array([classes.get(name, -1) for name in folders], dtype=np.int64)

    def name(self, number: int) -> str:
        return f'{self.path}:{self.names[number]}'

    def read(self, number: int) -> bytes:
        member = self.members[number]
        try:
            check_ratio(member.file_size, member.compress_size)  # no member gives more than it says, whatever it holds
            return self.archive.read(member)
        except DAMAGED as error:
            raise UnreadableImageError(f'it cannot be read from the zip: {error}') from error


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Whatever is wrong with a zip becomes a UserError that names it."""
    try:
        yield
    except DAMAGED as error:
        raise UserError(
            f'{path} cannot be read as a zip: {" ".join(str(error).split())[:200]}; fetch it again.'
        ) from error


def common_folder(names: list[str]) -> str:
    """The folders around everything, as `all/` or `all/of/them/`; '' if there are none."""
    top = ''
    while True:
        firsts = {name.removeprefix(top).partition('/')[0] for name in names}
        if len(firsts) > 1 or any('/' not in name.removeprefix(top) for name in names):
            return top
        top += f'{firsts.pop()}/'
