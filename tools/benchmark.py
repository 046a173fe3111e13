#!/usr/bin/env python
"""`fvq benchmark` from a clone."""

import sys

from fvq_eval.commands.benchmark import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
