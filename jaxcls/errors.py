"""The one exception for what a user can cause and mend, and ways to word it."""

import contextlib
import difflib
import errno
import os
import traceback
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


def listed(names: Iterable[object], most: int = 12) -> str:
    """Names with commas between them; of many the first ones, "and 30 more"."""
    texts = [text if len(text) <= 60 else f"{text[:57]}..." for text in map(str, names)]
    while most > 1 and len(", ".join(texts[:most])) > 240:
        most -= 1
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def of_machine(error: BaseException) -> str | None:
    """The line for what is not a UserError and a user can cause all the same; None for what only a bug can be.

    Files and disks, characters, memory, depth, packages that lack, and devices that JAX does not find. A pipe that
    broke is none of them.
    """
    reason = " ".join(str(error).split())[:200]
    if isinstance(error, OSError) and not isinstance(error, (BrokenPipeError, ConnectionError)):
        reason = error.strerror or reason or type(error).__name__
        remedy = "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        what = error.filename if error.filename is not None else "the output, or a file" if remedy else ""
        return f"{what}: {reason}{remedy}" if what else reason
    if isinstance(error, UnicodeError):
        return f"a text can't be read or written ({reason}); is it UTF-8?"
    if isinstance(error, MemoryError):
        return f"the memory of this machine is not enough{f' ({reason})' if reason else ''}; ask for less of it."
    if isinstance(error, RecursionError):
        return "something is nested too deeply to be read (JAXCLS_TRACEBACK=1 shows where)."
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != "jaxcls":
        return f"this needs {error.name}, which is not installed: pip install {error.name} (ONNX files need no JAX)"
    if isinstance(error, RuntimeError) and "nable to initialize backend" in reason:
        return f"JAX finds no such device: {reason}; set JAX_PLATFORMS to what is there, or unset it (jaxcls doctor)."
    if isinstance(error, AssertionError) and _of_backends(error):  # a platform that JAX knows, without its plugin
        wish = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX finds no device of JAX_PLATFORMS={wish}; set it to what is there, or unset it (jaxcls doctor)."
    if isinstance(error, RuntimeError) and reason.startswith("Unknown backend"):
        return f"JAX knows no such device: {reason}; unset JAX_PLATFORMS, or set it to cpu, cuda or tpu."
    return None


def _of_backends(error):
    """Whether an exception comes from where JAX looks for devices."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.endswith("xla_bridge.py")


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
