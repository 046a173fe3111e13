#!/usr/bin/env python
"""`fvq probe` from a clone."""

import sys

from fvq_eval.commands.probe import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
