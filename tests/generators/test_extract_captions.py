"""Features of captions: what the encoder's own code gives, resumable, and bad input in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fvq_generators.commands import extract_captions
from fvq_generators.extraction import features_folder
from fvq_generators.extraction.captions import read_captions
from fvq_generators.extraction.features_folder import claim_folder, read_record
from fvq_generators.extraction.text_encoder import TextEncoder
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
    file.write_bytes(b'one\rtwo\r')
    assert read_captions(file) == {'0.npy': 'one', '1.npy': 'two'}


def test_captions_in_hidden_folders_are_left_out(tmp_path: Path):
    for name in ('00/17.txt', '.ipynb_checkpoints/17-checkpoint.txt', '00/._17.txt', '__MACOSX/00/17.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('a hill')
    assert read_captions(tmp_path) == {'00/17.npy': 'a hill'}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'holds no captions'),
        ('one\n\ntwo\n', 'the caption of 1.txt is empty'),
        ('a.jpg\tone\nb.jpg  two\n', 'line 2 has no tab, as others have'),
        ('../a.jpg\tone\n', 'does not name a file within the folder'),
        ('/tmp/a.jpg\tone\n', 'does not name a file within the folder'),
        ('a.jpg\tone\na.png\ttwo\n', r'two captions are for a.npy'),
        ('b/a.jpg\tone\n./b//a.png\ttwo\n', r'two captions are for b/a.npy'),
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


def test_features_are_those_of_the_captions_as_they_are_now(
    encoders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file, out = tmp_path / 'prompts.txt', tmp_path / 'out'
    call = [str(encoders / 't5'), str(file), str(out), '--device', 'cpu']

    def extract(*lines: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        file.write_text(''.join(f'{line}\n' for line in lines))
        status = extract_captions.main([*call, *options])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    def stored() -> dict[str, bytes]:
        return {path.stem: path.read_bytes() for path in out.glob('*.npy')}

    assert extract('a hill', 'red')[0] == 0
    first = stored()
    status, printed = extract('a house', 'a hill', 'red')
    assert status == 0
    assert '2 captions have changed, their features made again: 0.npy, 1.npy' in printed
    assert '3 captions, 3 of them new' in printed
    second = stored()
    assert (second['1'], second['2']) == (first['0'], first['1'])
    assert '3 captions, 0 of them new' in extract('a house', 'a hill', 'red')[1]

    status, printed = extract('a house')
    assert status == 2
    assert 'features of 2 captions that are gone: 1.npy, 2.npy; remove them with --prune' in printed
    assert stored() == second, 'refused before anything is removed'
    status, printed = extract('a house', options=('--prune',))
    assert status == 0
    assert '2 captions are gone, their features removed: 1.npy, 2.npy' in printed
    assert stored() == {'0': second['0']}

    np.save(out / 'mine.npy', np.zeros(3))
    status, printed = extract('a house', options=('--prune',))
    assert status == 2
    assert 'holds files that captions.tsv does not list: mine.npy' in printed
    assert set(stored()) == {'0', 'mine'}, 'what was not made here is never removed'
    (out / 'mine.npy').unlink()
    (out / 'captions.tsv').write_text('nothing\n')
    assert 'captions.tsv is damaged: a line has no tab' in extract('a house')[1]


def test_a_killed_call_leaves_no_features_of_other_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    claim_folder(tmp_path, {}, {'0.npy': 'old', 'kept.npy': 'same'})
    for name in ('0.npy', 'kept.npy'):
        np.save(tmp_path / name, np.zeros((1, 1, 2), np.float32))
    monkeypatch.setattr(features_folder, 'write_atomically', lambda *_, **__: 1 / 0)
    new = {'0.npy': 'new', 'kept.npy': 'same'}
    with pytest.raises(ZeroDivisionError):
        claim_folder(tmp_path, {}, new, say=list)
    monkeypatch.undo()
    assert not (tmp_path / '0.npy').exists()
    assert claim_folder(tmp_path, {}, new) == ['0.npy']
    assert read_record(tmp_path / 'captions.tsv').keys() == new.keys()


def test_a_record_removes_nothing_outside_the_folder(tmp_path: Path):
    out, outside = tmp_path / 'out', tmp_path / 'outside.npy'
    np.save(outside, np.zeros(3))
    claim_folder(out, {}, {'0.npy': 'one'})
    (out / 'captions.tsv').write_text(f'00\t../outside.npy\n00\t{outside}\n')
    assert claim_folder(out, {}, {'0.npy': 'one'}, prune=True) == ['0.npy']
    assert outside.exists()


@pytest.mark.parametrize('kind', ['t5', 'clip'])
def test_any_declared_transformers_loads_an_encoder_in_its_precision(
    kind: str, encoders: Path, monkeypatch: pytest.MonkeyPatch
):
    model = dict(t5=transformers.T5EncoderModel, clip=transformers.CLIPTextModel)[kind]
    load = model.from_pretrained

    def before_4_56(source: str, *, use_safetensors: bool, trust_remote_code: bool) -> Any:
        return load(source, use_safetensors=use_safetensors, trust_remote_code=trust_remote_code)

    monkeypatch.setattr(model, 'from_pretrained', before_4_56)
    encoder = TextEncoder(str(encoders / kind), 3, precision=torch.bfloat16)
    assert {each.dtype for each in encoder.model.parameters()} == {torch.bfloat16}
    assert encoder(['a red house'])[0].dtype == np.float32
