#!/usr/bin/env python
"""`fvq smoke` from a clone."""

import sys

from fvq_eval.commands.smoke import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
