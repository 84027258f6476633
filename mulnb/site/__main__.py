"""`python -m mulnb.site`, behind `./run_all.sh --site`."""

import sys

from mulnb.core import commands


def command() -> int:
    """Build the site. Its import takes a second, in which Ctrl-C is one line, too."""
    from mulnb.site.build import main

    return main()


sys.exit(commands.exit_code(command))
