"""``python -m fastdnn`` is the command ``fastdnn``."""

import sys

from .cli import main

sys.exit(main())
