#!/usr/bin/env python
"""`fvq report` from a clone."""

import sys

from fvq_eval.commands.report import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
