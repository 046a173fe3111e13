"""Sharing through the Hugging Face hub, without a network: a stand-in for the hub's API, and a cache made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants, errors

from fvq.commands import push
from fvq_core.errors import UserError
from fvq_core.saving import hub
from fvq_core.saving.model_card import CardMetadata
from fvq_core.tokenizer import Tokenizer

from ..tiny import random_images, tiny_tokenizer
from .hub_cache import COMMIT, put_in_cache

FACTS = {
    'weights': 'iter_7.pth',
    'metrics': {'psnr': {'value': 20.5, 'protocol': 'strict', 'samples': 9, 'weights': 'w'}},
}


class FakeApi:
    """What a push asks of `HfApi`: a pushed folder lands in the cache, as if it had been downloaded again."""

    cache: Path
    calls: list[tuple[str, dict[str, Any]]]

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, repo_id: str, **options: Any) -> SimpleNamespace:
        self.calls.append(('create_repo', {'repo_id': repo_id, 'token': self.token, **options}))
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, repo_id: str, folder_path: Path, **options: Any) -> str:
        self.calls.append(('upload_folder', {**options, 'files': sorted(path.name for path in folder_path.iterdir())}))
        put_in_cache(self.cache, repo_id, folder_path)
        return f'https://hub/{repo_id}/commit/{COMMIT}'


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeApi]:
    monkeypatch.setattr(FakeApi, 'cache', tmp_path / 'cache', raising=False)
    monkeypatch.setattr(FakeApi, 'calls', [], raising=False)
    monkeypatch.setattr(hub, 'HfApi', FakeApi)
    return FakeApi


@pytest.fixture
def cached(tmp_path: Path) -> Tokenizer:
    """A tokenizer that the cache knows as `ada/tiny`."""
    tokenizer = tiny_tokenizer().fold()
    put_in_cache(tmp_path / 'cache', 'ada/tiny', tokenizer.save_pretrained(tmp_path / 'saved'))
    return tokenizer


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make the hub fail."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(hub, 'snapshot_download', fail)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)


def answer(kind: type[errors.HfHubHTTPError], status: int, message: str = 'Client Error') -> Exception:
    """An error as the hub's client makes it of a response."""
    return kind(message, response=SimpleNamespace(status_code=status, headers={}, request=None))


def same_weights(one: Tokenizer, other: Tokenizer) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


@torch.no_grad()
def test_pushed_tokenizer_is_loaded_by_its_id(api: type[FakeApi], tmp_path: Path):
    tokenizer, images = tiny_tokenizer().fold(), random_images()
    url = tokenizer.push_to_hub('ada/tiny', FACTS, private=True, token='secret')
    assert url.endswith(COMMIT)
    (_, created), (_, uploaded) = api.calls
    assert created == {'repo_id': 'ada/tiny', 'token': 'secret', 'private': True, 'exist_ok': True}
    assert uploaded['files'] == ['README.md', 'config.json', 'model.safetensors']

    loaded = Tokenizer.from_pretrained('ada/tiny', cache_dir=tmp_path / 'cache', local_files_only=True)
    assert same_weights(loaded, tokenizer)
    assert torch.equal(loaded(images).reconstruction, tokenizer(images).reconstruction)
    assert loaded.loaded_facts is not None
    assert loaded.loaded_facts[1] == FACTS
    card = next((tmp_path / 'cache').rglob('README.md')).read_text()
    assert "Tokenizer.from_pretrained('ada/tiny')" in card
    assert '| psnr | 20.5 | strict | 9 |' in card


def test_loaded_tokenizer_is_pushed_with_the_facts_it_came_with(api: type[FakeApi], tmp_path: Path):
    folder = tiny_tokenizer().fold().save_pretrained(tmp_path / 'saved', FACTS)
    Tokenizer.from_pretrained(folder).push_to_hub('ada/tiny', card=CardMetadata(license='mit'))
    card = next((tmp_path / 'cache').rglob('README.md')).read_text()
    assert '| psnr | 20.5 | strict | 9 |' in card
    assert 'license: mit' in card


def test_options_of_a_push_reach_the_hub(api: type[FakeApi]):
    tiny_tokenizer().push_to_hub('ada/tiny', branch='dev', create_pr=True, commit_message='second try')
    options = api.calls[1][1]
    assert (options['revision'], options['create_pr'], options['commit_message']) == ('dev', True, 'second try')


def test_tokenizer_that_cannot_be_saved_makes_no_repository(api: type[FakeApi]):
    with pytest.raises(UserError, match='is a key of config'):
        tiny_tokenizer().push_to_hub('ada/tiny', {'tokenizer': 1})
    with pytest.raises(UserError, match="'tiny' is not a repository id; expected user/name"):
        tiny_tokenizer().push_to_hub('tiny')
    assert not api.calls


def test_cache_serves_without_a_network(cached: Tokenizer, tmp_path: Path):
    for options in ({}, {'local_files_only': True}, {'revision': COMMIT}, {'revision': 'main', 'device': 'cpu'}):
        loaded = Tokenizer.from_pretrained('ada/tiny', cache_dir=tmp_path / 'cache', **options)
        assert same_weights(loaded, cached)
        assert not loaded.training


def test_what_the_cache_lacks_is_one_line_that_names_the_cache(cached: Tokenizer, tmp_path: Path):
    options = dict(cache_dir=tmp_path / 'cache', local_files_only=True)
    for name, revision in (('ada/other', None), ('ada/tiny', 'v2')):
        with pytest.raises(
            UserError, match=rf"there is no such folder, and the cache .*/cache .*'{revision or 'main'}'"
        ):
            Tokenizer.from_pretrained(name, revision=revision, **options)


def test_download_that_was_cut_off_is_named(cached: Tokenizer, tmp_path: Path):
    next((tmp_path / 'cache').rglob('model.safetensors')).unlink()
    with pytest.raises(UserError, match=r"'ada/tiny' on the hub \(main\) .* has no model.safetensors; .*cut off"):
        Tokenizer.from_pretrained('ada/tiny', cache_dir=tmp_path / 'cache')


def test_folder_that_exists_wins_over_a_repository(cached: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    local = tiny_tokenizer().fold()
    local.save_pretrained('ada/tiny')
    failing(monkeypatch, AssertionError('the hub was asked'))
    assert same_weights(Tokenizer.from_pretrained('ada/tiny', cache_dir='cache'), local)
    with pytest.raises(UserError, match="is a folder here, which has no revision 'v2'"):
        Tokenizer.from_pretrained('ada/tiny', revision='v2')


@pytest.mark.parametrize(
    'name', ['nowhere', './ada/tiny', 'a/b/c', '/ada/tiny', 'ada/ti ny', 'ada/tiny.git', Path('a/b')]
)
def test_what_can_be_no_repository_is_not_asked_for(name: str | Path, monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, AssertionError('the hub was asked'))
    with pytest.raises(UserError, match='is not a saved tokenizer: there is no such folder, nor is it user/name'):
        Tokenizer.from_pretrained(name)


def test_mistyped_folder_is_answered_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path('work/tokenizer').mkdir(parents=True)
    Path('work/iter_7.pth').touch()
    with pytest.raises(UserError, match=r"no such folder \(did you mean 'work/tokenizer'\?\), and the cache"):
        Tokenizer.from_pretrained('work/tokeniser', cache_dir=tmp_path)
    with pytest.raises(UserError, match='it is a file, not a folder'):
        Tokenizer.from_pretrained('work/iter_7.pth', cache_dir=tmp_path)


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (answer(errors.RepositoryNotFoundError, 401), 'the hub has none of that name, or a private one'),
        (answer(errors.GatedRepoError, 403), 'accept them on its page'),
        (answer(errors.RevisionNotFoundError, 404), "has no revision 'v2'"),
        (answer(errors.HfHubHTTPError, 403, 'Forbidden'), 'Forbidden; log in with `hf auth login`'),
        (
            errors.LocalEntryNotFoundError('ConnectError:\n\nno route'),
            r'try again with a network \(ConnectError: no route\)',
        ),
        (errors.HTTPError('Connection reset'), 'reading it from the hub failed: Connection reset'),
        (OSError(28, 'No space left on device'), 'No space left on device'),
    ],
)
def test_failure_of_a_download_is_one_line_without_a_chain(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
):
    failing(monkeypatch, error)
    with pytest.raises(UserError, match=f"^no tokenizer 'ada/tiny': there is no such folder, and .*{said}") as caught:
        Tokenizer.from_pretrained('ada/tiny', revision='v2')
    assert '\n' not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (errors.OfflineModeIsEnabled('offline'), 'unset HF_HUB_OFFLINE'),
        (answer(errors.RevisionNotFoundError, 404), "no branch 'dev'"),
        (answer(errors.RepositoryNotFoundError, 404), 'with write access'),
        (answer(errors.HfHubHTTPError, 401, 'Unauthorized'), 'Unauthorized; log in'),
        (errors.HTTPError('no route'), r'could not be reached \(no route\)'),
        (ValueError('Invalid metadata in README.md.\n- "license" must be one of'), '- "license" must be one of'),
    ],
)
def test_failure_of_a_push_is_one_line(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(hub, 'HfApi', lambda token: SimpleNamespace(create_repo=fail))
    with pytest.raises(UserError, match=f"'ada/tiny' was not pushed: .*{said}") as caught:
        tiny_tokenizer().push_to_hub('ada/tiny', branch='dev')
    assert '\n' not in str(caught.value)


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_tokenizer().fold().save_pretrained('saved', FACTS)


def test_dry_run_writes_the_folder_that_a_push_uploads(saved: Path, api: type[FakeApi], tmp_path: Path):
    options = [str(saved), 'ada/tiny', '--license', 'mit', '--datasets', 'a/b', 'c/d', '--evaluated-on', 'c/d']
    assert push.main([*options, '--dry-run', 'out']) == 0
    assert not api.calls
    assert push.main([*options, '--private']) == 0
    assert api.calls[0][1]['private'] is True
    snapshot = tmp_path / 'cache/models--ada--tiny/snapshots' / COMMIT
    dry, pushed = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (Path('out'), snapshot))
    assert dry == pushed
    assert dry['model.safetensors'] == (saved / 'model.safetensors').read_bytes()
    assert dry['config.json'] == (saved / 'config.json').read_bytes()


def test_metrics_of_a_later_test_take_the_place_of_those_saved(saved: Path):
    metric = {'value': 31.5, 'unit': 'dB', 'protocol': 'strict', 'samples': 50000, 'weights': 'saved'}
    Path('metrics.json').write_text(json.dumps({'metrics': {'psnr': metric}}))
    assert push.main([str(saved), 'ada/tiny', '--metrics', 'metrics.json', '--dry-run', 'out']) == 0
    config = json.loads(Path('out/config.json').read_text())
    assert config['metrics'] == {'psnr': metric}
    assert config['weights'] == 'iter_7.pth'
    assert '| psnr (dB) | 31.5 | strict | 50000 |  | saved |' in Path('out/README.md').read_text()


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['nowhere', 'ada/tiny'], 'nowhere is not a saved model: it has no config.json'),
        (['saved', 'tiny'], "'tiny' is not a repository id"),
        (['saved', 'ada/tiny', '--metrics', 'absent.json'], 'absent.json cannot be read: No such file'),
        (['saved', 'ada/tiny', '--metrics', 'bare.json'], 'psnr has no value, protocol or weights'),
        (['saved', 'ada/tiny', '--dry-run', 'taken'], 'exists and is not a saved tokenizer'),
    ],
)
def test_bad_arguments_cost_one_line(
    saved: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], api: Callable[..., FakeApi]
):
    Path('taken').touch()
    Path('bare.json').write_text('{"metrics": {"psnr": {"value": 3}}}')
    assert push.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not FakeApi.calls
