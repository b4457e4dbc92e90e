"""Called as `python -m tools.kills`."""

import sys

from tools.kills.kill import main

sys.exit(main())
