"""Tables in Markdown, as GitHub's table extension reads them."""

from __future__ import annotations

import re

from fvq_core.files.markdown import markdown_table


def test_a_bar_within_a_cell_does_not_end_the_cell():
    *_, row = markdown_table(['a', 'b'], [['|x|', 'y']]).splitlines()
    assert re.split(r'(?<!\\)\|', row) == ['', r' \|x\| ', ' y ', '']


def test_columns_of_numbers_are_aligned_to_the_right_and_the_first_is_not():
    assert markdown_table(['a', 'b', 'c'], [], numbers=True).splitlines()[1] == '| --- | ---: | ---: |'
    assert markdown_table(['a', 'b'], []).splitlines()[1] == '| --- | --- |'
