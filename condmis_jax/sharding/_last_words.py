"""One clear line where JAX's runtime ends the process itself.

When a host is lost, a thread of the runtime aborts the process; no Python code can come in between.
So a child of this process, which knows nothing of JAX, reads what goes to stderr, hands it on, and
says the line in place of the runtime's stack.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys

LOST = "another host of this run has gone"
REMEDY = "start the same command again on every host, it resumes from the newest checkpoint"

# How the runtime begins its last lines, and what in them only a lost host makes.
_LAST = re.compile(r"F\d{4} |FATAL|\*\*\* Check failure|E\d{4} .*coordination_service")
_COORDINATION = re.compile(
    r"distributed service|coordination service|stopped sending heartbeats", re.IGNORECASE
)

_child: subprocess.Popen[bytes] | None = None
_stderr = -1  # where stderr went before


def listen() -> None:
    """Puts the child behind this process's stderr; it ends when this process has ended."""
    global _child, _stderr
    if _child is not None:
        return
    sys.stderr.flush()
    _stderr = os.dup(2)
    _child = subprocess.Popen(
        [sys.executable, "-IS", __file__],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the process that is listened to
    )
    assert _child.stdin is not None
    os.dup2(_child.stdin.fileno(), 2)
    _child.stdin.close()


def end() -> None:
    """Lets the child finish what was written, when this process is about to end by itself."""
    global _child
    if _child is None:
        return
    sys.stderr.flush()
    os.dup2(_stderr, 2)
    with contextlib.suppress(subprocess.TimeoutExpired):  # somebody else still holds the pipe
        _child.wait(timeout=10)
    _child = None


def hand_on() -> None:
    """The child: stdin to stderr, line by line, up to the last lines of the runtime."""
    held: list[str] = []
    for raw in sys.stdin.buffer:
        line = raw.decode(errors="replace")
        if held or _LAST.match(line):
            held.append(line)
        else:
            sys.stderr.write(line)
            sys.stderr.flush()
    sys.stderr.write(in_one_line(held))
    sys.stderr.flush()


def in_one_line(held: list[str]) -> str:
    """What to say for the last lines of a process; as they are where no lost host explains them."""
    text = "".join(held)
    if not _COORDINATION.search(text) or "Traceback" in text:
        return text
    own = [line for line in held if line.startswith("error: ")]  # said before the runtime's end
    return own[-1] if own else f"error: {LOST}; {REMEDY}\n"


if __name__ == "__main__":
    hand_on()
