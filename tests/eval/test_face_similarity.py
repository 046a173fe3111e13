"""Faces compared in reconstructions: alignment against closed forms, skimage and OpenCV, F-Sim of TokBench by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.transform import SimilarityTransform
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object
from fvq_eval.commands import evaluate
from fvq_eval.reconstruction.tokbench.face_alignment import SIDE, TEMPLATE, face_crop, similarity_transform
from fvq_eval.reconstruction.tokbench.face_network import FaceNetwork
from fvq_eval.reconstruction.tokbench.face_similarity import read_faces, score_faces

from ..pictures import gradient, picture

Points = list[tuple[float, float]]


def moved(a: complex, b: complex, points: Any = TEMPLATE) -> Points:
    """Points z as a z + b."""
    return [(each.real, each.imag) for each in (a * complex(x, y) + b for x, y in points)]


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


# --- alignment ---


@pytest.mark.parametrize(
    ('scale', 'angle', 'shift'), [(1, 0, 0), (0.3, 0.4, 20 - 7j), (4, -2.5, 100j), (1, math.pi, 5)]
)
def test_a_similarity_of_the_template_is_found_again(scale: float, angle: float, shift: complex):
    a = scale * complex(math.cos(angle), math.sin(angle))
    found = similarity_transform(moved(1 / a, -shift / a))
    np.testing.assert_allclose(found, (a, shift), rtol=0, atol=1e-9)


def test_two_points_determine_it_and_a_mirrored_face_is_not_mirrored_back():
    # 0 -> 1 and 2 -> 1 + 4i: a turn by 90 degrees, twice as large.
    np.testing.assert_allclose(similarity_transform([(0, 0), (2, 0)], [(1, 0), (1, 4)]), (2j, 1), atol=1e-12)
    # A square and its mirror image: turning either way is as bad, and no turn and shrinking to the centre is best.
    square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    np.testing.assert_allclose(similarity_transform(square, [(y, x) for x, y in square]), (0, 0.5 + 0.5j), atol=1e-12)


@pytest.mark.parametrize('mirrored', [False, True])
def test_noisy_landmarks_give_umeyamas_transform_as_in_skimage(mirrored: bool):
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = np.array(TEMPLATE) @ rng.normal(size=(2, 2)) + rng.normal(scale=3, size=(5, 2))
        points[:, 0] *= -1 if mirrored else 1
        reference = SimilarityTransform.from_estimate(points, np.array(TEMPLATE)).params
        a, b = similarity_transform([(x, y) for x, y in points.tolist()])
        ours = [[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]
        np.testing.assert_allclose(ours, reference[:2], rtol=1e-8, atol=1e-8)


def test_landmarks_at_the_template_give_the_pixels_themselves_and_black_beyond_them():
    image = pixels(picture(SIDE + 9, SIDE + 4))
    assert torch.equal(face_crop(image, TEMPLATE), image[:, :SIDE, :SIDE])
    shifted = face_crop(image, moved(1, -7 + 3j))
    assert torch.equal(shifted[:, :, 7:], image[:, 3 : SIDE + 3, : SIDE - 7])
    assert not shifted[:, :, :7].any()


def test_a_ramp_tells_where_each_pixel_was_taken():
    scale, angle = 0.8, 0.3
    a, b = scale * complex(math.cos(angle), math.sin(angle)), complex(60, 20)
    found = face_crop(pixels(gradient(200, 150)), moved(a, b))
    y, x = np.mgrid[:SIDE, :SIDE]
    place = a * (x + 1j * y) + b
    assert min(place.real.min(), place.imag.min()) > 0
    assert (place.real.max(), place.imag.max()) < (199, 149)
    expected = torch.from_numpy(np.stack([place.real, place.imag]))
    assert (found[:2] - expected).abs().max() <= 0.5 + 1e-3  # bilinear is exact on a ramp; values are rounded


def warped(image: Tensor, landmarks: Points) -> np.ndarray:
    """OpenCV's crop by skimage's transform, as insightface makes it."""
    matrix = SimilarityTransform.from_estimate(np.array(landmarks), np.array(TEMPLATE)).params[:2]
    return cv2.warpAffine(image.permute(1, 2, 0).numpy(), matrix, (SIDE, SIDE), borderValue=0)


def directly(image: Tensor, landmarks: Points) -> np.ndarray:
    """The bilinear mean of four pixels of an image with a wide black margin."""
    a, b = similarity_transform(landmarks)
    margin = 200
    padded = np.pad(image.permute(1, 2, 0).numpy().astype(float), ((margin, margin), (margin, margin), (0, 0)))
    y, x = np.mgrid[:SIDE, :SIDE]
    place = (x + 1j * y - b) / a + complex(margin, margin)
    left, top = np.floor(place.real).astype(int), np.floor(place.imag).astype(int)
    right, down = (place.real - left)[..., None], (place.imag - top)[..., None]
    above = padded[top, left] * (1 - right) + padded[top, left + 1] * right
    below = padded[top + 1, left] * (1 - right) + padded[top + 1, left + 1] * right
    return above * (1 - down) + below * down


@pytest.mark.parametrize(
    ('scale', 'angle', 'shift'), [(0.4, 0.5, 30 + 5j), (1.3, -0.2, -20 + 9j), (2.1, 1.5, 230 - 40j)]
)
def test_a_crop_is_that_of_opencv_and_of_a_direct_computation(scale: float, angle: float, shift: complex):
    image = pixels(picture(150, 130))
    noise = np.random.default_rng(1).normal(size=5) + 1j * np.random.default_rng(2).normal(size=5)
    landmarks = moved(scale * complex(math.cos(angle), math.sin(angle)), shift)
    landmarks = [(x + each.real, y + each.imag) for (x, y), each in zip(landmarks, noise, strict=True)]
    found = face_crop(image, landmarks).permute(1, 2, 0).numpy().astype(float)
    assert found.any()
    assert np.abs(found - directly(image, landmarks)).max() <= 0.5 + 0.02  # rounded; places are float32
    assert (
        np.abs(found - warped(image, landmarks)).max() <= 1
    )  # OpenCV before 5 places pixels to 1/32: up to 6 of noise


# --- scores ---


WIDTH = SIDE // 4  # of a face in the images
RED, GREEN, YELLOW, DARK = (255, 0, 9), (0, 255, 9), (255, 255, 9), (255, 204, 9)


class Embeds(nn.Module):
    """Red and green of the middle of a face, in [-1, 1]."""

    def forward(self, faces: Tensor) -> Tensor:
        return faces[:, :2, 50:62, 50:62].mean((2, 3))


@pytest.fixture(scope='module')
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('network') / 'embeds.pt'
    torch.jit.script(Embeds()).save(path)
    return path


Colours = dict[str, list[tuple[tuple[int, int, int], tuple[int, int, int], float]]]


def write(folder: Path, colours: Colours) -> Path:
    """Images of faces side by side, and their annotations; a face is its colour, that of its reconstruction, and its size."""
    document = []
    for name, faces in colours.items():
        size = (WIDTH + 5, WIDTH * len(faces), 3)
        for which in (0, 1):
            image = np.zeros(size, np.uint8)
            for column, face in enumerate(faces):
                image[5:, column * WIDTH : (column + 1) * WIDTH] = face[which]
            (folder / ('originals', 'made')[which]).mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / ('originals', 'made')[which] / name)
        kps = [moved(0.25, complex(column * WIDTH, 5)) for column in range(len(faces))]
        annotated = [dict(kps=each, ratio=face[2], box=[0, 0, 1, 1]) for each, face in zip(kps, faces, strict=True)]
        document.append(dict(image_name=name, img_height=size[0], img_width=size[1], faces=annotated))
    (folder / 'faces.json').write_text(json.dumps(document))
    return folder / 'faces.json'


COLOURS: Colours = {
    'one.png': [(RED, RED, 0.1), (RED, GREEN, 0.199), (RED, GREEN, 0.09), (GREEN, YELLOW, 0.2)],
    'two.png': [(YELLOW, GREEN, 0.25), (RED, YELLOW, 0.9), (DARK, YELLOW, 0.3), (RED, GREEN, 1.0)],
}


@pytest.mark.parametrize('batch_size', [1, 4, 64])
def test_scores_are_those_computed_by_hand(batch_size: int, network: Path, tmp_path: Path):
    faces = read_faces(write(tmp_path, COLOURS))
    folders = tmp_path / 'made', tmp_path / 'originals'
    scored = score_faces(*folders, faces, FaceNetwork(network), batch_size=batch_size)
    # Red is (1, -1), green (-1, 1), yellow (1, 1), the dark one (1, 0.6): 204 of 255 in [-1, 1]. 0.09 and 1.0 are in no range.
    last = (0 + 1.6 / math.sqrt(2 * 1.36)) / 2
    expected = {'f_sim_0.1_0.2': 0, 'f_sim_0.2_0.3': 0, 'f_sim_0.3_1': last, 'f_sim': last / 3}
    assert {name: metric.value for name, metric in scored.items()} == pytest.approx(expected, abs=1e-7)
    assert [scored[name].samples for name in ('f_sim', 'f_sim_0.1_0.2', 'f_sim_0.3_1')] == [6, 2, 2]
    with pytest.raises(UserError, match=r'no face has a size of 0.02 to 0.05 of its image; is --setting 1024 right'):
        score_faces(*folders, faces, FaceNetwork(network), setting=1024)


def test_originals_are_as_similar_as_can_be(network: Path, tmp_path: Path):
    faces = read_faces(write(tmp_path, COLOURS))
    scored = score_faces(tmp_path / 'originals', tmp_path / 'originals', faces, FaceNetwork(network))
    assert [metric.value for metric in scored.values()] == pytest.approx([1.0] * 4, abs=1e-12)


FACE = dict(kps=[list(point) for point in TEMPLATE], ratio=0.1)


def images(**face: Any) -> list[dict[str, Any]]:
    return [dict(image_name='a.png', img_height=112, img_width=120, faces=[{**FACE, **face}])]


@pytest.mark.parametrize(
    ('document', 'message'),
    [
        ([], 'has no face'),
        ([dict(image_name='a.png', img_height=4, img_width=4, faces=[])], 'has no face'),
        ({'a': 1}, 'expected the annotations of TokBench'),
        ([dict(file_name='a.png')], r'something else \(.img_height'),
        (images(kps=FACE['kps'][:4]), r'are no face of a.png, 120x112 pixels'),  # type: ignore[index]
        (images(kps=[[5, 5]] * 5), 'are no face'),
        (images(kps=[[x + 300, y] for x, y in TEMPLATE]), 'are no face'),
        (images(kps=[[1e9 * x, y] for x, y in TEMPLATE]), 'are no face'),
        (images(ratio=math.nan), 'or its size nan is no number'),
        (images(kps=[[1, 2, 3]] * 5), 'got something else'),
    ],
)
def test_what_is_no_annotation_is_refused(document: Any, message: str, tmp_path: Path):
    (tmp_path / 'faces.json').write_text(json.dumps(document))
    with pytest.raises(UserError, match=message):
        read_faces(tmp_path / 'faces.json')


class Pools(nn.Module):
    def forward(self, faces: Tensor) -> Tensor:
        return faces.mean((2, 3), keepdim=True)


class Divides(nn.Module):
    def forward(self, faces: Tensor) -> Tensor:
        return faces.mean((2, 3)) / 0


class WantsGrey(nn.Module):
    def forward(self, faces: Tensor) -> Tensor:
        return faces.reshape(len(faces), 1, 112, 112).flatten(1)


@pytest.mark.parametrize(
    ('module', 'message'),
    [
        (Pools(), r'expected embeddings \(6, D\) of face.pt \(.*\), got \(6, 3, 1, 1\)'),
        (Divides(), 'gives embeddings that are not finite'),
        (WantsGrey(), r'face.pt \(.*\) does not take \(6, 3, 112, 112\)'),
    ],
)
def test_networks_that_embed_no_faces_are_refused(module: nn.Module, message: str, tmp_path: Path):
    faces = read_faces(write(tmp_path, COLOURS))
    torch.jit.script(module).save(tmp_path / 'face.pt')
    with pytest.raises(UserError, match=message):
        score_faces(tmp_path / 'made', tmp_path / 'originals', faces, FaceNetwork(tmp_path / 'face.pt'))


def test_images_of_another_size_are_refused(network: Path, tmp_path: Path):
    faces = read_faces(write(tmp_path, COLOURS))
    Image.new('RGB', (70, 50)).save(tmp_path / 'originals/two.png')
    with pytest.raises(UserError, match=r'originals/two.png is 70x50, its annotations are of 112x33'):
        score_faces(tmp_path / 'made', tmp_path / 'originals', faces, FaceNetwork(network))


def test_the_command_prints_and_writes_the_scores(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    faces, out = write(tmp_path, COLOURS), tmp_path / 'metrics.json'
    given = [str(tmp_path / 'made'), '--faces', str(faces), '--face-network', str(network), '--device', 'cpu']
    assert evaluate.main(given) == 2
    assert '--faces needs --originals and --face-network' in capsys.readouterr().err
    given += ['--originals', str(tmp_path / 'originals')]
    assert evaluate.main([*given, '--reference', 'val/']) == 2
    assert '--text and --faces take no --reference' in capsys.readouterr().err
    assert evaluate.main([*given, '--out', str(out)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('f_sim '))
    assert '0.1617   6 faces; tokbench' in line
    assert 'embeds.pt' in line
    written = read_json_object(out)['metrics']
    assert written['f_sim_0.3_1'] == {**written['f_sim_0.3_1'], 'value': pytest.approx(0.4851, abs=1e-4), 'samples': 2}
