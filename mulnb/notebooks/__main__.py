"""`python -m mulnb.notebooks`, behind `./run_all.sh`."""

import sys

from mulnb.notebooks.run import main

sys.exit(main())
