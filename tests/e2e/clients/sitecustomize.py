"""A block on other machines: Python runs this at its start if this folder is on PYTHONPATH."""

import sys
from typing import Any

HERE = {"127.0.0.1", "localhost"}


def refuse_other_hosts(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):  # otherwise it is not a network address
        host = arguments[1][0]
    else:
        return
    if host not in HERE:
        raise OSError(f"a client wants to reach {host}")


sys.addaudithook(refuse_other_hosts)
