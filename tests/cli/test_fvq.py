"""`fvq` itself: what it lists, how fast, what a shell completes, and what `fvq doctor` says of this machine."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fvq import main as fvq
from fvq.commands import doctor
from fvq.doctor import machine
from fvq_core.commands.command import as_called, command
from fvq_core.errors import UserError
from fvq_core.ops.meeting import STOPPED

TOOLS = {path.stem for path in (Path(__file__).parents[2] / 'tools').glob('*.py')}
CALL = 'import sys; from fvq.main import main; sys.argv = ["fvq", *sys.argv[1:]]; code = main(); '


def call(*arguments: str, then: str = '', **env: str) -> subprocess.CompletedProcess[str]:
    """`fvq ARGUMENTS` in a process of its own."""
    code = f'{CALL}{then}\nsys.exit(code)'
    return subprocess.run(
        [sys.executable, '-c', code, *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.processes
def test_help_says_a_sentence_of_each_command_and_imports_none_of_them() -> None:
    heavy = 'print(sorted({"torch", "mmengine", "fvq_eval", "fvq_core.commands.command"} & set(sys.modules)))'
    done = call('--help', then=heavy, COLUMNS='200')
    assert done.returncode == 0, done.stderr
    *lines, imported = done.stdout.splitlines()
    assert imported == '[]'
    described = dict(re.findall(r'^  (\w+) +(\S.*)$', '\n'.join(lines), flags=re.MULTILINE))
    assert {'train', 'sample', 'evaluate', 'convert'} <= described.keys()
    assert described['train'].startswith('Train the tokenizer or generator of a config')
    for title in ('train:', 'generate:', 'measure and compare:'):
        assert title in lines


def test_every_tool_has_a_heading_and_a_sentence() -> None:
    listed = {name for names in fvq.GROUPS.values() for name in names}
    assert listed >= TOOLS
    for point in fvq.entry_points(group=fvq.ENTRY_POINT_GROUP):
        text = fvq.summary(point)
        assert text == '' or text.endswith('.'), f'{point.name}: {text}'


def test_a_plug_ins_command_without_source_has_no_sentence() -> None:
    assert fvq.summary(EntryPoint('nothing', 'no_such_package.commands:main', fvq.ENTRY_POINT_GROUP)) == ''


def test_version_help_and_mistakes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, out, err in (
        (['--version'], 0, r'fvq \d+\.\d+\S*\n', ''),
        ([], 2, '', 'usage: fvq COMMAND .*'),
        (['tran'], 2, '', "error: fvq has no command 'tran'; did you mean 'train'\\?\n"),
    ):
        monkeypatch.setattr(sys, 'argv', ['fvq', *arguments])
        assert fvq.main() == code
        printed = capsys.readouterr()
        assert re.fullmatch(out, printed.out)
        assert re.fullmatch(err, printed.err, re.DOTALL)


def test_texts_name_commands_as_they_were_called(monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'usage: train.py [-h]\n  torchrun --nproc-per-node 8 tools/train.py a.py; see tools/setup.sh, a/train.py'
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])
    assert as_called(text) == text
    monkeypatch.setattr(sys, 'argv', ['/usr/bin/fvq'])
    assert as_called(text) == (
        'usage: fvq train [-h]\n  torchrun --nproc-per-node 8 --no-python fvq train a.py; see tools/setup.sh, a/train.py'
    )


@pytest.mark.processes
@pytest.mark.parametrize(
    ('line', 'expected', 'absent'), [('fvq tra', 'train', 'sample'), ('fvq train --res', '--resume', '--seed')]
)
def test_a_shell_completes_commands_and_options(line: str, expected: str, absent: str, tmp_path: Path) -> None:
    answer = tmp_path / 'answer'
    settings = dict(_ARGCOMPLETE='1', COMP_LINE=line, COMP_POINT=str(len(line)), COMP_TYPE='9', _ARGCOMPLETE_IFS='\n')
    call(then='', **settings, _ARGCOMPLETE_STDOUT_FILENAME=str(answer))
    words = answer.read_text().split()
    assert expected in words
    assert absent not in words


def test_doctor_can_train_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(['--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['can_train'] is True
    found = {each['name']: each for each in report['findings']}
    assert found['a training step on cpu']['status'] == 'ok'
    assert found['fvq-core']['value'] == fvq.__version__
    assert found['FID and other scores']['value'].endswith('weights-inception-2015-12-05-6726825d.pth')


def test_doctor_says_why_not_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(device: object) -> None:
        raise RuntimeError('CUDA error: no kernel image is available\nlong story')

    monkeypatch.setattr(machine, 'train_a_step', broken)
    with pytest.raises(SystemExit) as ended:
        doctor.main([])
    assert ended.value.code == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        'this machine cannot train: a training step on cpu: CUDA error: no kernel image is available; FVQ_DEVICE=cpu'
    )


def test_exit_codes_are_those_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / 'docs/command_line.md').read_text()
    assert re.findall(r'^\| (\d+) \|', page, flags=re.MULTILINE) == ['0', '1', '2', '75', '130']
    assert STOPPED == 75  # of a run: tests/cli/test_stop.py; 1 of the doctor: above

    def ends(error: BaseException | None) -> int:
        @command
        def main(argv: Sequence[str] | None) -> None:
            if error is not None:
                raise error

        return main([])

    assert ends(None) == 0
    assert ends(UserError('expected a folder, got a file')) == 2
    assert ends(OSError(errno.ENOSPC, 'No space left on device', 'work/iter_1.pth')) == 2
    assert ends(KeyboardInterrupt()) == 130
    assert len(capsys.readouterr().err.splitlines()) == 3
    with pytest.raises(RuntimeError):  # a traceback, and Python's own 1
        ends(RuntimeError('a bug'))
