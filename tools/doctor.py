#!/usr/bin/env python
"""`fvq doctor` from a clone."""

import sys

from fvq.commands.doctor import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
