"""One pass of Vowpal Wabbit over a file: ``vowpal_wabbit.py OPTIONS``; prints the seconds it took as JSON."""

import json
import sys
import time

from vowpalwabbit import Workspace

began = time.perf_counter()
Workspace(sys.argv[1]).finish()
print(json.dumps({"seconds": time.perf_counter() - began}))
