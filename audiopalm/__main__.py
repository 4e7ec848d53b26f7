"""`python -m audiopalm` is the `audiopalm` command."""

import sys

from audiopalm.cli import main

sys.exit(main.main())
