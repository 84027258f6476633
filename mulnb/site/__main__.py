"""`python -m mulnb.site`, behind `./run_all.sh --site`."""

import sys

from mulnb.site.build import main

sys.exit(main())
