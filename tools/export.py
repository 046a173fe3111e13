#!/usr/bin/env python
"""`fvq export` from a clone."""

import sys

from fvq.commands.export import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
