"""From a graph to numbers: plan, memory, sessions, and the backends that run them."""

import os
from contextlib import suppress

# Between two kernels libgomp's threads spin for milliseconds by default. Where another process wants the core, the one
# that spins loses its time slice and all others wait for it: training then takes several times as long. A thousand
# turns bridge the gaps within a step; libgomp reads the variable once, when it is loaded.
_short = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
if _short:
    os.environ["GOMP_SPINCOUNT"] = "1000"
with suppress(ImportError):  # not built: `backend` tells, and says how to mend it
    from . import _cpu  # noqa: F401
if _short:
    del os.environ["GOMP_SPINCOUNT"]
