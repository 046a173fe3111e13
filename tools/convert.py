#!/usr/bin/env python
"""`fvq convert` from a clone."""

import sys

from fvq.commands.convert import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
