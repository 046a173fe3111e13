#!/usr/bin/env python
"""`fvq sample` from a clone."""

import sys

from fvq_generators.commands.sample import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
