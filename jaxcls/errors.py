"""The one exception for what a user can cause and mend."""


class UserError(Exception):
    """Bad input: a config, path, picture or checkpoint that cannot be used.

    The message is one line that names the thing and the remedy. `jaxcls.main` and the scripts print it without a
    traceback and exit with status 2. Raise it as early as possible: before anything is compiled or written.
    """
