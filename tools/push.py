#!/usr/bin/env python
"""`fvq push` from a clone."""

import sys

from fvq.commands.push import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
