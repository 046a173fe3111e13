#!/usr/bin/env python
"""`fvq extract_representations` from a clone."""

import sys

from fvq_generators.commands.extract_representations import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
