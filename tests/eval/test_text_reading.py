"""Words read in reconstructions: the scores of TokBench by hand, with a network that reads colours."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object
from fvq_eval.commands import evaluate
from fvq_eval.reconstruction.tokbench.text_reading import edit_distance, read_words, score_text
from fvq_eval.reconstruction.tokbench.text_recognizer import MEAN, STD, TextRecognizer

COLOURS = {'a': (255, 0, 0), 'B': (0, 255, 0), ' ': (0, 0, 255)}
SIDE = 16  # of a letter


class ReadsColours(nn.Module):
    """A letter for every 32 columns: red is class 0, green 1, and what is bluer or black ends the word, 2."""

    def forward(self, pixels: Tensor) -> Tensor:
        mean, std = torch.tensor([0.694, 0.695, 0.693]), torch.tensor([0.299, 0.296, 0.301])
        colours = pixels * std[:, None, None] + mean[:, None, None]
        letters = colours.unflatten(3, (4, 32)).mean((2, 4)).transpose(1, 2)
        return letters + torch.tensor([0.0, 0.0, 0.1])


def letters(text: str) -> np.ndarray:
    return np.concatenate([np.full((SIDE, SIDE, 3), COLOURS[each], np.uint8) for each in text], axis=1)


@pytest.fixture(scope='module')
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('network') / 'colours.pt'
    torch.jit.script(ReadsColours()).save(path)
    return path


def write(folder: Path, written: dict[str, list[tuple[str, str, float]]]) -> Path:
    """Images of words one below the other, and their annotations; a word is what is there, what should be, and its size."""
    document = []
    for name, words in written.items():
        picture = np.zeros((SIDE * len(words) + 3, SIDE * 4 + 5, 3), np.uint8)
        annotations = []
        for row, (shown, text, ratio) in enumerate(words):
            box = [5, 3 + row * SIDE, 5 + SIDE * len(shown), 3 + (row + 1) * SIDE]
            picture[box[1] : box[3], box[0] : box[2]] = letters(shown)
            annotations.append(dict(rec=text, bbox=[each + 0.4 for each in box], ratio=ratio))
        Image.fromarray(picture).save(folder / name)
        height, width = picture.shape[:2]
        document.append(dict(file_name=name, height=height, width=width, annotations=annotations))
    (folder / 'words.json').write_text(json.dumps(document))
    return folder / 'words.json'


WRITTEN = {
    'one.png': [('aB', 'aB', 0.02), ('aa', 'aB', 0.0299), ('BB', 'bb', 0.03), ('aBa', 'aBa', 0.019)],
    'two.png': [('aBaB', 'aBaB', 0.035), (' ', 'a', 0.04), ('B ', 'BaB', 0.5), ('a', 'a', 1.0)],
}


def test_scores_are_those_computed_by_hand(network: Path, tmp_path: Path):
    words = read_words(write(tmp_path, WRITTEN))
    recognizer = TextRecognizer(network, 'aB')
    values = {name: metric.value for name, metric in score_text(tmp_path, words, recognizer, batch_size=2).items()}
    # 0.02 to 0.03: one right, one of two letters wrong. To 0.04: small letters are not large ones (distance 2 of 2), one right.
    # To 1: an empty reading (1 of 1), one letter of three. 0.019 and 1.0 are in no range.
    assert values == pytest.approx(
        {
            't_acc_0.02_0.03': 50,
            't_acc_0.03_0.04': 50,
            't_acc_0.04_1': 0,
            't_acc': 100 / 3,
            't_ned_0.02_0.03': 75,
            't_ned_0.03_0.04': 50,
            't_ned_0.04_1': 100 / 6,
            't_ned': (75 + 50 + 100 / 6) / 3,
        }
    )
    with pytest.raises(UserError, match=r'no word has a size of 0.005 to 0.01 of its image; is --setting 1024 right'):
        score_text(tmp_path, words, recognizer, setting=1024)


def test_the_edit_distance_is_the_shortest_path_of_edits():
    def by_recursion(one: str, other: str) -> int:
        if not one or not other:
            return len(one) + len(other)
        changed = by_recursion(one[1:], other[1:]) + (one[0] != other[0])
        return min(changed, by_recursion(one[1:], other) + 1, by_recursion(one, other[1:]) + 1)

    texts = [''.join(each) for size in range(4) for each in itertools.product('ab', repeat=size)]
    assert all(edit_distance(one, other) == by_recursion(one, other) for one in texts for other in texts)


def test_a_crop_keeps_its_proportions_and_is_padded_with_black(network: Path):
    recognizer = TextRecognizer(network, 'aB')
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    for shape, (height, width) in (
        ((8, 16), (32, 64)),
        ((32, 500), (8, 128)),
        ((64, 64), (32, 32)),
        ((1, 300), (1, 128)),
    ):
        found = recognizer.prepare(torch.full((3, *shape), 255, dtype=torch.uint8)) * std + mean
        expected = torch.zeros(3, 32, 128)
        expected[:, :height, :width] = 1
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('document', 'message'),
    [
        ([], 'has no word'),
        ({'a': 1}, 'expected the annotations of TokBench'),
        ([dict(file_name='a.png', height=4, width=4, annotations=[dict(rec='a', ratio=1)])], r'something else \(.bbox'),
        (
            [dict(file_name='a.png', height=4, width=4, annotations=[dict(rec='a', bbox=[0, 0, 5, 4], ratio=0.1)])],
            r"'a' of a.png has the box \(0, 0, 5, 4\) in 4x4 pixels",
        ),
        (
            [dict(file_name='a.png', height=4, width=4, annotations=[dict(rec='', bbox=[0, 0, 4, 4], ratio=0.1)])],
            "'' of a.png has the box",
        ),
    ],
)
def test_what_is_no_annotation_is_refused(document: Any, message: str, tmp_path: Path):
    (tmp_path / 'words.json').write_text(json.dumps(document))
    with pytest.raises(UserError, match=message):
        read_words(tmp_path / 'words.json')


def test_images_of_another_size_and_networks_of_other_characters_are_refused(network: Path, tmp_path: Path):
    words = read_words(write(tmp_path, WRITTEN))
    with pytest.raises(
        UserError, match=r'expected logits \(3, T, 4 or more\) for 3 characters and an end, got \(3, 4, 3\)'
    ):
        score_text(tmp_path, words, TextRecognizer(network, 'abc'), batch_size=3)
    with pytest.raises(UserError, match='in the order of the classes, each once'):
        TextRecognizer(network, 'aa')
    (tmp_path / 'text.pt').write_text('no program')
    with pytest.raises(UserError, match=r'TextRecognizer: .*text\.pt is not a TorchScript file'):
        TextRecognizer(tmp_path / 'text.pt', 'ab')
    Image.new('RGB', (70, 50)).save(tmp_path / 'two.png')
    with pytest.raises(UserError, match=r'two.png is 70x50, its annotations are of 69x67; resize reconstructions'):
        score_text(tmp_path, words, TextRecognizer(network, 'aB'))


def test_the_command_prints_and_writes_the_scores(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words, characters, out = write(tmp_path, WRITTEN), tmp_path / 'characters.txt', tmp_path / 'metrics.json'
    characters.write_text('aB\n')
    given = [str(tmp_path), '--text', str(words), '--recognizer', str(network), '--device', 'cpu']
    assert evaluate.main(given) == 2
    assert '--text needs --recognizer and --characters' in capsys.readouterr().err
    assert evaluate.main([*given, '--characters', str(characters), '--out', str(out)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('t_acc '))
    assert '33.33 %   6 words; tokbench' in line
    assert 'colours.pt' in line
    written = read_json_object(out)['metrics']
    assert written['t_ned_0.02_0.03'] == {**written['t_ned_0.02_0.03'], 'value': 75.0, 'samples': 2}
