#!/usr/bin/env python
"""`fvq test` from a clone."""

import sys

from fvq_eval.commands.test import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
