"""Runs one call of a Python function as OpenFaaS' python3 template does.

The folder of the function is the argument; the request's body comes on standard input and goes to `handler.handle`,
and what that returns is printed as the reply.
"""

import sys

sys.path.insert(0, sys.argv[1])

from handler import handle  # noqa: E402  (the path above decides what it finds)

reply = handle(sys.stdin.read())
if reply is not None:
    print(reply)
