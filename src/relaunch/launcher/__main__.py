"""``python -m relaunch.launcher``: started by a keeper, never by hand."""

import sys

from relaunch.launcher.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
