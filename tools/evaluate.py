#!/usr/bin/env python
"""`fvq evaluate` from a clone."""

import sys

from fvq_eval.commands.evaluate import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
