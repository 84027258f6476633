"""`python -m mulnb.notebooks`, behind `./run_all.sh`."""

import signal
import sys

from mulnb.notebooks.run import main

for stop in (signal.SIGTERM, signal.SIGHUP):  # the kernel is in another session: stop it when we are stopped
    if signal.getsignal(stop) == signal.SIG_DFL:  # but not under nohup
        signal.signal(stop, signal.default_int_handler)
sys.exit(main())
