"""`python -m asbx` is the command `asbx`."""

import sys

from asbx.cli.main import main

sys.exit(main())
