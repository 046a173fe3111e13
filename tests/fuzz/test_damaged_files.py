"""A damaged file is read, or refused in one line that names it: no traceback, no endless loop, nothing written or started.

`FVQ_FUZZ_SECONDS=600 python -m pytest tests/fuzz -s` tries new damage for ten minutes. What fails is printed with its seed, and
`FVQ_FUZZ_SEED=N python -m pytest tests/fuzz -k READER` tries that one again.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from .damage import CANARY, damage
from .readers import READERS, Reader

CPU_SECONDS, SECONDS = 5, 60  # of a case; the second is for one that waits
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ('os.remove', 'os.rename', 'os.mkdir', 'os.rmdir', 'os.symlink', 'os.link', 'os.truncate', 'os.chmod')
STARTS = ('subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.spawn', 'os.fork', 'socket.connect')


class TooSlow(BaseException):
    """No reader catches it."""


class Watch:
    """What the interpreter is asked for while a file is read: changes outside a folder, programs, connections.

    Attributes:
        folder: Files may be changed in it; None while nobody watches.
        seen: What was asked for.
    """

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self.hook)  # until the process ends

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in STARTS:
            self.seen.append(f'{event}{arguments}')
        elif event in CHANGES or (event == 'open' and isinstance(arguments[2], int) and arguments[2] & WRITING):
            paths = arguments[:2] if event in ('os.rename', 'os.symlink', 'os.link') else arguments[:1]
            for path in paths:
                if isinstance(path, str | bytes | os.PathLike) and not self.allowed(os.path.abspath(os.fsdecode(path))):
                    self.seen.append(f'{event} {path!r}')

    def allowed(self, path: str) -> bool:
        return path.startswith(f'{self.folder}{os.sep}') or '__pycache__' in path or path == os.devnull

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        self.folder, self.seen = str(folder), []
        try:
            yield
        finally:
            self.folder = None


@pytest.fixture(scope='session')
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope='session')
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, bytes]]]:
    """Folder and files of each reader that was asked for."""
    return {}


@pytest.fixture
def files(
    request: pytest.FixtureRequest, made: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, bytes]]:
    """The folder of a reader, and its files in bytes."""
    name = request.getfixturevalue('name')
    if name not in made:
        folder = tmp_path_factory.mktemp('case') / 'files'
        folder.mkdir()
        READERS[name].make(folder)
        made[name] = folder, content(folder)
    return made[name]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def restore(folder: Path, files: dict[str, bytes]) -> None:
    """As they were made, and nothing else; in new files, because a reader may still map the old ones."""
    for name, data in content(folder).items():
        if files.get(name) != data:
            (folder / name).unlink()
    for name, data in files.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(data)


@contextmanager
def limited() -> Iterator[None]:
    """Stop what takes too long."""

    def stop(*_: object) -> None:
        raise TooSlow

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, CPU_SECONDS), (signal.SIGALRM, signal.ITIMER_REAL, SECONDS))
    before = [signal.signal(number, stop) for number, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def try_case(reader: Reader, folder: Path, files: dict[str, bytes], seed: int, watch: Watch) -> tuple[str, str]:
    """One damaged file.

    Returns:
        `'returned'` or `'refused'`, or a sentence on what is wrong; and where in the program.
    """
    rng = random.Random(seed)
    chosen = rng.choice([name for name in files if Path(name).name not in reader.undamaged])
    (folder / chosen).unlink()
    (folder / chosen).write_bytes(damage(files[chosen], chosen, rng))
    messages, where = [], ''
    try:
        with warnings.catch_warnings(), watch.watching(folder), limited():
            warnings.simplefilter('ignore')
            messages = list(reader.read(folder) or ())
    except reader.refusals as error:
        messages, where = [str(error)], place(error)
    except (Exception, TooSlow) as error:
        return f'{chosen}: {type(error).__name__}: {str(error)[:300]}', place(error)
    finally:
        restore(folder, files)
    for message in messages:
        if message.splitlines() != [message]:
            return f'{chosen}: not one line: {message!r}', where
        if reader.names_file and not any(Path(name).name in message for name in files) and str(folder) not in message:
            return f'{chosen}: names no file: {message}', where
    if watch.seen:
        return f'{chosen}: {watch.seen}', where
    if (folder.parent / CANARY).exists() or (folder / CANARY).exists():
        return f'{chosen}: code of the file was run', where
    return ('refused' if messages else 'returned'), ''


def place(error: BaseException) -> str:
    """Line of our own code that an error comes from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if '/packages/fvq' in frame.filename]
    return f'{frames[-1].filename.partition("/packages/")[2]}:{frames[-1].lineno}' if frames else ''


def seeds(reader: Reader) -> Iterator[int]:
    """The same in every run of the suite; new ones for as long as was asked for."""
    if 'FVQ_FUZZ_SEED' in os.environ:
        yield int(os.environ['FVQ_FUZZ_SEED'])
    elif 'FVQ_FUZZ_SECONDS' in os.environ:
        end = time.monotonic() + float(os.environ['FVQ_FUZZ_SECONDS']) / len(READERS)
        yield from itertools.takewhile(lambda _: time.monotonic() < end, itertools.count(secrets.randbits(32)))
    else:
        yield from range(reader.cases)


@pytest.mark.parametrize('name', READERS)
def test_damage_costs_one_line(
    name: str, files: tuple[Path, dict[str, bytes]], watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, whole = files
    reader = READERS[name]
    monkeypatch.chdir(folder)
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    with nullcontext() if reader.good else pytest.raises(reader.refusals):
        assert not reader.read(folder)  # also imports what is imported on first use
    restore(folder, whole)
    outcomes: Counter[str] = Counter()
    failures: dict[tuple[str, str], str] = {}
    for seed in seeds(reader):
        outcome, where = try_case(reader, folder, whole, seed, watch)
        outcomes[outcome if outcome in ('returned', 'refused') else 'failed'] += 1
        if outcome not in ('returned', 'refused'):
            failures.setdefault((where, outcome.split(':')[1]), f'FVQ_FUZZ_SEED={seed}: {outcome} ({where})')
    print(
        f'\n{name}: {outcomes.total():,} damaged files, {outcomes["returned"]:,} returned, {outcomes["refused"]:,} refused'
    )
    if failures:
        pytest.fail('\n'.join(failures.values()), pytrace=False)
