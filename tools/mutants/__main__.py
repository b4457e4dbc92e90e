"""Called as `python -m tools.mutants`."""

import sys

from tools.mutants.run import main

sys.exit(main())
