import sys

from gradlens.cli.main import main

sys.exit(main())
