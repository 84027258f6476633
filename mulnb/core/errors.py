"""The exceptions that end a run with a message instead of a traceback."""


class UserError(Exception):
    """A mistake in what the user gave: one line that says what, where, and what to do. The command line exits with 2."""

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows: the line, too, and not forty lines of ours above it."""
        return [f"UserError: {self}"]


class NotebookFailed(Exception):
    """A notebook raised, hid an error in its outputs or did not write what it declares. The runner exits with 1."""
