#!/usr/bin/env python
"""`fvq demo` from a clone."""

import sys

from fvq.commands.demo import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
