"""The one exception that the entry points print as a single line."""


class UserError(Exception):
    """A mistake the user can mend: what is wrong, where (file:line or config key), how to fix it.

    The message is one line without a traceback; `run_train.py`, `run_eval.py` and the tools print
    it and exit with status 1.
    """
