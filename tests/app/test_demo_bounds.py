"""What a stranger may send to the components of the page: files that were uploaded, and paintings of few layers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fvq.demo.bounds import MOST_LAYERS, MOST_PAINTINGS, bound_components
from fvq_core.errors import UserError
from tests.pictures import picture

gradio = pytest.importorskip('gradio', reason='needs the extra fvq[demo]')
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of what gradio stands on


@pytest.fixture
def mask() -> Any:
    bound_components()
    return gradio.ImageMask(type='numpy', layers=False, image_mode='RGBA')


def layer(index: Any, id: str = 'a') -> Any:
    """What a browser sends of a painting."""
    return SimpleNamespace(data=dict(type='layer', index=index, id=id), files=[('blob', b'a picture')])


@pytest.mark.parametrize('index', [MOST_LAYERS, 10**12, '99999999999', -1, '1.5', 'x'])
def test_a_layer_with_a_large_number_is_refused_before_there_is_a_list_of_so_many(mask: Any, index: Any):
    with pytest.raises(UserError, match='a painting has up to 4 layers'):
        mask.accept_blobs(layer(index))
    assert mask.blob_storage == {}


def test_paintings_that_nobody_draws_with_make_room(mask: Any):
    assert mask.accept_blobs._is_server_fn, 'or gradio would not call it'
    for number in range(3 * MOST_PAINTINGS):
        mask.accept_blobs(layer('0', f'painting {number}'))
    assert len(mask.blob_storage) == MOST_PAINTINGS
    mask.accept_blobs(layer(1, f'painting {3 * MOST_PAINTINGS - 1}'))
    assert mask.blob_storage[f'painting {3 * MOST_PAINTINGS - 1}'].layers == [b'a picture'] * 2


def test_a_painting_of_the_same_file_many_times_is_refused(mask: Any, tmp_path: Path):
    from gradio.components.image_editor import EditorData
    from gradio.data_classes import FileData

    picture(8, 8).save(tmp_path / 'a.png')
    file = FileData(path=str(tmp_path / 'a.png'))
    painted = mask.preprocess(EditorData(background=file, layers=[file], composite=None))
    assert [each.shape for each in painted['layers']] == [(8, 8, 4)]
    with pytest.raises(UserError, match='up to 4 layers, got 100'):
        mask.preprocess(EditorData(background=None, layers=[file] * 100, composite=None))


def test_no_component_fetches_an_address_nor_one_that_was_built_anew(mask: Any, tmp_path: Path):
    picture(8, 8).save(tmp_path / 'a.png')
    anew = type(mask)(**{**mask.constructor_args, 'visible': True})  # as gradio does after an update
    for each in (mask, anew, gradio.File()):
        with pytest.raises(UserError, match='only files that were uploaded'):
            asyncio.run(each.async_move_resource_to_block_cache('https://example.com/photo.png'))
        assert Path(asyncio.run(each.async_move_resource_to_block_cache(str(tmp_path / 'a.png')))).is_file()
        assert asyncio.run(each.async_move_resource_to_block_cache(None)) is None
