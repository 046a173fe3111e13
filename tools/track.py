#!/usr/bin/env python
"""`fvq track` from a clone."""

import sys

from fvq.commands.track import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
