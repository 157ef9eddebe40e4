"""The one exception for what a user can cause and mend, and a way to show several of them at once."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping


class UserError(Exception):
    """Bad input: a config, path, picture or checkpoint that cannot be used.

    The message is one line that names the thing and the remedy. Commands print it without a
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
        self.found: list[str] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Keeps a UserError that is raised inside."""
        try:
            yield
        except UserError as error:
            self.found.append(str(error))

    def refuse(self) -> None:
        """Raises UserError if anything was noted."""
        if self.found:
            raise UserError("\n".join(self.found))


def did_you_mean(word: str, known: Iterable[str] | Mapping[str, str], cutoff: float = 0.6) -> str:
    """The end of a message about a word that is not known: "; did you mean 'x'?", or "" where nothing is near.

    Of a mapping the value of the nearest key is shown.
    """
    shown = known if isinstance(known, Mapping) else {str(k): str(k) for k in known}
    near = difflib.get_close_matches(str(word), list(shown), 1, cutoff)
    return f"; did you mean {shown[near[0]]!r}?" if near else ""


def of_picture(error: Exception, name: str) -> UserError:
    """Whatever went wrong with one picture as that picture's line: no reader, thread or worker ends by it.

    A UserError is what it is; of anything else the kind is named.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, MemoryError):
        return UserError(f"{name or 'picture'}: too large for the memory of this machine")
    reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
    return UserError(f"{name or 'picture'}: it can't be used ({reason}); replace or remove it")
