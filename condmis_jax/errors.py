"""The one exception that the entry points print as a single line, and how others fit into it."""


class UserError(Exception):
    """A mistake the user can mend: what is wrong, where (file:line or config key), how to fix it.

    The message is one line without a traceback; `run_train.py`, `run_eval.py` and the tools print
    it and exit with status 1.
    """


def first_line(error: BaseException) -> str:
    """What another library's exception says, for the middle of a sentence; its name if nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
