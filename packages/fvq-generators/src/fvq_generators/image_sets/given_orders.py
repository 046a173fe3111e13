"""Orders of a file in which the codes of images are drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from fvq_core.errors import UserError, shortened
from fvq_core.files.bounded import read_bounded
from fvq_core.generator import Generator

from ..autoregressive import AutoregressiveGenerator
from ..orders import check_order

MOST_BYTES = 2**26
FORM = 'expected an order a line, positions in reading order from 0, with spaces or commas between them'


class GivenOrders:
    """An order for each image of a set: image i has that of line i modulo their number.

    Args:
        generator: A model that draws in any order.
        path: A text file with an order a line: the positions of all codes, numbered from 0 in reading order.

    Raises:
        UserError: A generator that draws in an order of its own, or a file without such orders.
    """

    def __init__(self, generator: Generator, path: str) -> None:
        if not isinstance(generator, AutoregressiveGenerator) or not generator.any_order:
            raise UserError(f'--order-file: {type(generator).__name__} draws in an order of its own; leave it out.')
        text = read_bounded(path, MOST_BYTES, FORM).decode('utf-8', 'replace')
        lines = [line.replace(',', ' ').split() for line in text.splitlines() if line.strip()]
        if not lines:
            raise UserError(f'{path} is empty; {FORM}.')
        orders = []
        for number, words in enumerate(lines, 1):
            wrong = [word for word in words if not (word.isascii() and word.isdecimal() and len(word) < 10)]
            if wrong:
                raise UserError(f'{path}: order {number} has {shortened(wrong[0])}; {FORM}.')
            order_L = torch.tensor([int(word) for word in words])
            orders.append(check_order(f'{path}: order {number}', order_L, 1, generator.layout.length))
        self.orders_NL = torch.cat(orders)

    def batch(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """`order_BL` for images of these numbers."""
        return dict(order_BL=self.orders_NL[[number % len(self.orders_NL) for number in numbers]])

    def digest(self) -> str:
        """What decides the samples: the orders."""
        return hashlib.sha256(self.orders_NL.numpy().tobytes()).hexdigest()
