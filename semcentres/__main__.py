"""`python -m semcentres`, which torchrun needs."""

import sys

from semcentres.cli import main

sys.exit(main())
