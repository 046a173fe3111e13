#!/usr/bin/env python
"""`fvq make_codebook` from a clone."""

import sys

from fvq_quantizers.commands.make_codebook import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
