"""The exceptions that end a run with a message instead of a traceback."""


class UserError(Exception):
    """A mistake in what the user gave.

    The message is one line that says what is wrong, where, and what to do. The command line prints it and exits with 2.
    """

    def _render_traceback_(self) -> list[str]:
        """Jupyter shows this one line instead of a traceback."""
        return [f"UserError: {self}"]


class NotebookFailed(Exception):
    """A notebook raised, hid an error in its outputs, or did not write what it declares. The runner exits with 1."""
