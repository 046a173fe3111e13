#!/usr/bin/env python
"""`fvq check_data` from a clone."""

import sys

from fvq_eval.commands.check_data import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
