#!/usr/bin/env python
"""`fvq analyze` from a clone."""

import sys

from fvq_eval.commands.analyze import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
