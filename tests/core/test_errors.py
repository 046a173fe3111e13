"""Messages for users are one line, whatever they quote."""

from __future__ import annotations

import os

import pytest

from fvq_core.errors import UserError, nearest_hint


@pytest.mark.parametrize(
    ('quoted', 'shown'),
    [
        ('a\nb\r\tc', 'a b  c'),
        ('a\x0bb\x85c\u2028d', 'a b c d'),
        ('\x1b[2Jgone\x07', '\\x1b[2Jgone\\x07'),
        ('\u202egpj.exe', '\\u202egpj.exe'),
        ('Käse 図 😀', 'Käse 図 😀'),
    ],
)
def test_line_ends_and_control_characters_do_not_reach_the_terminal(quoted: str, shown: str) -> None:
    assert str(UserError(f"no component '{quoted}'.")) == f"no component '{shown}'."


def test_a_file_name_that_is_not_utf8_keeps_its_bytes() -> None:
    assert os.fsencode(str(UserError(os.fsdecode(b'caf\xe9\n.png')))) == b'caf\xe9 .png'


def test_a_name_like_none_of_the_valid_ones_gets_the_list() -> None:
    assert nearest_hint('entropi', ['entropy', 'vq']) == "did you mean 'entropy'?"
    assert nearest_hint('nope', ['entropy', 'vq']) == 'valid: entropy, vq'
