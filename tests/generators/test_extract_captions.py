"""Features of captions: what the encoder's own code gives, resumable, and bad input in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fvq_generators.commands import extract_captions
from fvq_generators.extraction.captions import read_captions
from fvq_generators.image_sets import CaptionFolder

transformers: Any = pytest.importorskip('transformers')
WORDS = ['<pad>', '</s>', '<unk>', 'a', 'red', 'house', 'on', 'hill']


@pytest.fixture(scope='module')
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small T5 and a small CLIP text model with random weights, as folders."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    root = tmp_path_factory.mktemp('encoders')
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token='<unk>'))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = dict(pad_token='<pad>', eos_token='</s>', unk_token='<unk>')
    torch.manual_seed(0)
    t5 = transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )
    size = dict(vocab_size=8, hidden_size=12, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    clip = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(**size, max_position_embeddings=3, eos_token_id=1, bos_token_id=1, pad_token_id=0)
    )
    for name, model in (('t5', t5), ('clip', clip)):
        model.save_pretrained(root / name)
        transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(root / name)
    return root


def test_features_are_those_of_the_encoder_without_padding(
    encoders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lines = ['a red house on a hill', 'a hill', 'red']
    (tmp_path / 'captions.txt').write_text('\n'.join(lines) + '\n')
    call = [
        str(encoders / 't5'),
        str(tmp_path / 'captions.txt'),
        str(tmp_path / 'out'),
        '--tokens',
        '4',
        '--device',
        'cpu',
    ]
    assert extract_captions.main(call) == 0
    assert 'features of 3 captions, 3 of them new' in capsys.readouterr().out
    model = transformers.T5EncoderModel.from_pretrained(encoders / 't5').eval()
    for number, words in enumerate((['a', 'red', 'house', 'on'], ['a', 'hill'], ['red'])):
        ids = torch.tensor([[WORDS.index(word) for word in words]])
        with torch.no_grad():
            expected = model(input_ids=ids).last_hidden_state
        found = np.load(tmp_path / f'out/{number}.npy')
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    captions, mask = CaptionFolder(tmp_path / 'out', 4, 16).batch([0, 1])
    assert captions.shape == (2, 4, 16)
    assert mask.sum(1).tolist() == [4, 2]

    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('*.npy')}
    (tmp_path / 'out/1.npy').unlink()
    assert extract_captions.main(call) == 0
    assert '1 of them new' in capsys.readouterr().out
    assert (tmp_path / 'out/0.npy').stat().st_mtime_ns == times['0.npy'], 'what is there stays'
    assert extract_captions.main([*call[:-4], '--tokens', '3', '--device', 'cpu']) == 2
    assert 'made in another way (tokens)' in capsys.readouterr().err


def test_clip_keeps_to_its_own_length(encoders: Path, tmp_path: Path):
    folder = tmp_path / 'texts/00'
    folder.mkdir(parents=True)
    (folder / '7.txt').write_text('a red house on a hill')
    assert (
        extract_captions.main(
            [str(encoders / 'clip'), str(tmp_path / 'texts'), str(tmp_path / 'out'), '--device', 'cpu']
        )
        == 0
    )
    assert np.load(tmp_path / 'out/00/7.npy').shape == (1, 3, 12)


def test_captions_by_line_and_by_name(tmp_path: Path):
    file = tmp_path / 'captions.txt'
    file.write_bytes('\ufeffone\r\ntwo\n'.encode())
    assert read_captions(file) == {'0.npy': 'one', '1.npy': 'two'}
    file.write_text('00/17.jpg\ta hill\nb.png\ta house\twith a tab\n')
    assert read_captions(file) == {'00/17.npy': 'a hill', 'b.npy': 'a house\twith a tab'}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'holds no captions'),
        ('one\n\ntwo\n', 'the caption of 1.txt is empty'),
        ('../a.jpg\tone\n', 'does not name a file within the folder'),
        ('/tmp/a.jpg\tone\n', 'does not name a file within the folder'),
        ('a.jpg\tone\na.png\ttwo\n', r'two captions are for a.npy'),
        (b'\xff\xfe\x00', 'is not UTF-8'),
        (None, 'cannot be read'),
    ],
)
def test_bad_captions_cost_one_line(
    content: str | bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / 'captions.txt'
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    assert extract_captions.main(['nowhere', str(file), str(tmp_path / 'out')]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_bad_encoders_cost_one_line(encoders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / 'captions.txt').write_text('a hill\n')
    empty, vit = tmp_path / 'empty', tmp_path / 'vit'
    empty.mkdir()
    transformers.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2).save_pretrained(vit)
    full = tmp_path / 'full'
    full.mkdir()
    np.save(full / '0.npy', np.zeros(3))
    t5 = str(encoders / 't5')
    for arguments, message in (
        ([str(empty), 'out'], 'holds no text encoder that can be read'),
        ([str(vit), 'out'], 'is a model of type vit, expected one of t5'),
        ([t5, str(full)], 'holds .npy files but no captions.json'),
        ([t5, 'out', '--tokens', '0'], 'tokens must be 1 or more'),
        ([t5, 'out', '--batch-size', '0'], '--batch-size must be 1 or more'),
    ):
        out = arguments[1] if arguments[1] != 'out' else str(tmp_path / 'out')
        call = [arguments[0], str(tmp_path / 'captions.txt'), out, *arguments[2:], '--device', 'cpu']
        assert extract_captions.main(call) == 2
        assert message in capsys.readouterr().err


def test_captions_are_numbered_by_numbers_and_then_by_names(tmp_path: Path):
    names = ['10', '2', '0', '00001', 'b10', 'b2', '2-dog', '\u00b2']
    for name in [*names, '.hidden']:
        np.save(tmp_path / f'{name}.npy', np.zeros((1, 1, 2), np.float32))
    found = [path.stem for path in CaptionFolder(tmp_path, 4, 2).files]
    assert found == ['0', '00001', '2', '10', '2-dog', 'b10', 'b2', '\u00b2'], (
        'names that are no numbers keep their order'
    )
