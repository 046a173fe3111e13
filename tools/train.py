#!/usr/bin/env python
"""`fvq train` from a clone."""

import sys

from fvq_core.commands.train import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
