#!/usr/bin/env python
"""`fvq extract_captions` from a clone."""

import sys

from fvq_generators.commands.extract_captions import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
