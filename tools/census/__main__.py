"""Called as `python -m tools.census`."""

import sys

from tools.census.record import main

sys.exit(main())
