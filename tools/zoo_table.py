#!/usr/bin/env python
"""`fvq zoo_table` from a clone."""

import sys

from fvq_eval.commands.zoo_table import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
