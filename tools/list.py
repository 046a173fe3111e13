#!/usr/bin/env python
"""`fvq list` from a clone."""

import sys

from fvq_eval.commands.list import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
