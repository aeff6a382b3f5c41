"""``python -m gradlens``, which torchrun starts: the command line."""

import sys

from gradlens.cli.main import main

sys.exit(main())
