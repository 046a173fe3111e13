#!/usr/bin/env python
"""`fvq reconstruct` from a clone."""

import sys

from fvq_eval.commands.reconstruct import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
