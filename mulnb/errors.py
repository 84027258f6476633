"""The one exception for mistakes that a user can make and mend."""


class UserError(Exception):
    """A mistake in what the user gave: one line that says what, where, and what to do. The command line exits with 2."""
