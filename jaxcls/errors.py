"""The one exception for what a user can cause and mend, and a way to show several of them at once."""

import contextlib


class UserError(Exception):
    """Bad input: a config, path, picture or checkpoint that cannot be used.

    The message is one line that names the thing and the remedy. `jaxcls.main` and the scripts print it without a
    traceback and exit with status 2. Raise it as early as possible: before anything is compiled or written.
    """


class Problems:
    """Collects UserErrors, so that a user sees all mistakes at once instead of one a run.

    with problems.noted():
        check_this()
    with problems.noted():
        check_that()
    problems.refuse()  # raises one UserError with a line for each
    """

    def __init__(self):
        self.found = []

    @contextlib.contextmanager
    def noted(self):
        """Keeps a UserError that is raised inside."""
        try:
            yield
        except UserError as error:
            self.found.append(str(error))

    def refuse(self):
        """Raises UserError if anything was noted."""
        if self.found:
            raise UserError("\n".join(self.found))
