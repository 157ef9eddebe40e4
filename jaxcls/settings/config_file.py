"""Config files and `--config.key=value` settings: loaded, or refused in one line that says where the mistake is."""

import inspect
import re
import signal
import sys
import threading
import traceback
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcls import call_strings
from jaxcls.defaults import REVALUED, current_key, current_value, default_config, flatten
from jaxcls.errors import UserError, did_you_mean
from jaxcls.settings import hints, shipped

EXAMPLES = {"get_config": "configs/lenet5_digits.py", "get_ladder": "configs/ladders/fashion_small.py"}
SLOW = 10.0  # seconds after which a line says that a file still runs
AUTO = "auto"  # as config.batch_size: the number of before counts, and config.auto_batch is set
ITEM = re.compile(r"model\.fields\.\w+\.\d+")  # an item of a model's field
BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def load(name: str) -> ConfigDict:
    """The config of a file: `configs/x.py`, or `configs/x.py:arg` for `get_config("arg")`.

    Raises:
      UserError: no such file (the nearest is named), a mistake in it (with its line), no `get_config`.
    """
    config, path = call(name, "get_config"), split(name)[0]
    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise UserError(f"{path}: get_config must return a ConfigDict, not {kind}; is 'return' missing?")
    return config


def call(name: str, function: str, flag: str = "--config=") -> Any:
    """What a function of a file of Python returns: `x.py`, or `x.py:arg` for `function("arg")`.

    Args:
      name: the file.
      function: its name.
      flag: how a message shows that the file was given.

    Raises:
      UserError: no such file (the nearest is named), a mistake in it (with its line), no such function.
    """
    file, arg = split(name)
    path = Path(file)
    if not path.is_file() and path.parent == Path():
        path = shipped.find(file) or path
    if not file:
        raise UserError(f"{flag.rstrip('=') or 'the file'} is empty; give a file, such as {flag}{EXAMPLES[function]}.")
    if not path.is_file():
        raise UserError(_missing(path, flag))
    slow = threading.Timer(SLOW, _slow, (path,))
    slow.daemon = True
    slow.start()
    try:
        module = types.ModuleType("jaxcls_config")
        module.__file__ = str(path)
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        if not callable(called := getattr(module, function, None)):
            raise UserError(f"{path} has no function {function}; such a file defines {function}(arg='').")
        args = () if arg is None else (arg,)
        try:
            inspect.signature(called).bind(*args)
        except TypeError:
            takes = "needs an argument, as in" if arg is None else "takes no argument; leave off"
            raise UserError(f"{path} {takes} ':{arg or 'tiny'}'.") from None
        return called(*args)
    except UserError as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except BaseException as error:  # whatever a file of Python can do wrong; sys.exit() and KeyboardInterrupt, too
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise  # of the keyboard: below an entry point Ctrl-C is none
        raise UserError(_mistake(path, error)) from error
    finally:
        slow.cancel()


def split(name: str) -> tuple[str, str | None]:
    """(file, argument) of `x.py:arg`; the argument is None where there is none. A file may have ":" in its name."""
    text = str(name)
    ends = [match.start() for match in re.finditer(":", text)]
    for end in [len(text), *ends]:
        if Path(text[:end]).is_file():
            return text[:end], text[end + 1 :] if end < len(text) else None
    if ends and "/" in text[ends[0] :] and text.endswith(".py"):
        return text, None  # a file that is not there, in a folder with ":" in its name
    file, colon, arg = text.partition(":")
    return file, arg if colon else None


def _slow(path):
    print(f"note: {path} has run for {SLOW:.0f} s and has not ended; Ctrl-C ends it.", file=sys.stderr, flush=True)


def override(config: ConfigDict, settings: Iterable[tuple[str, str]]) -> None:
    """Sets keys in place.

    Args:
      config: a ConfigDict.
      settings: (path, text) pairs such as ("optim.momentum", "0.9"), in order. Texts are converted to the type of the
        default. Several texts for a tuple make up its items, "(1, 2)" or "resize(28), flip" is a whole one. A number
        behind a model's field is one of its items, counted from 0: "model.fields.blocks.2". "auto" as batch_size leaves
        that number and sets auto_batch.

    Raises:
      UserError: for keys that do not exist and texts that are no value of the key; a line for each.
    """
    default, problems = default_config().to_dict(), []
    given: dict[str, list[str]] = {}
    for path, text in settings:
        if path == "batch_size" and text.strip().lower() == AUTO:
            path, text = "auto_batch", "True"
        given.setdefault(current_key(path), []).append(_current_text(path, text))
    for path, texts in given.items():
        try:
            _set(config, path, _convert(config, path, texts, default))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))


def _current_text(path, text):
    """What was typed for a key, as it is typed today."""
    return current_value(path, BOOLEANS.get(text.lower(), text)) if path in REVALUED else text


def _convert(config, path, texts, default):
    """The value of a key from what was typed."""
    node: Any = default
    for key in path.split("."):
        if path.startswith("model.fields.") and (path.count(".") == 2 or ITEM.fullmatch(path)):
            return call_strings.literal(texts[-1])
        if not isinstance(node, dict) or key not in node:
            raise UserError(hints.unknown_key(path))
        node = node[key]
    if isinstance(node, dict):
        raise UserError(hints.section(path, list(node), texts[-1]))
    if isinstance(node, tuple):
        return tuple(item for text in texts for item in call_strings.literals(text))
    text = texts[-1]
    try:
        if isinstance(node, bool):
            return BOOLEANS[text.lower()]
        if isinstance(node, int):
            return int(text) if re.fullmatch(r"\s*[+-]?\d+\s*", text) else _whole(float(text))
        return type(node)(text)
    except (ValueError, KeyError, OverflowError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(node)]
        own = dict(flatten(config)).get(path, node)
        shown = text if len(text) <= 80 else f"{text[:60]}..."
        raise UserError(f"--config.{path}={shown}: {shown!r} is not {kind}; the config has {own!r}") from None


def _whole(value):
    if not value.is_integer():
        raise ValueError
    return int(value)


def _set(config, path, value):
    if ITEM.fullmatch(path):
        path, value = _with_item(config, path, value)
    *sections, key = path.split(".")
    with config.unlocked():
        for section in sections:
            config = config[section]
        with config.ignore_type():
            config[key] = value


def _with_item(config, path, value):
    """(path of a model's field, its value with another item) of the path of one of its items."""
    whole, _, number = path.rpartition(".")
    items = config.model.fields.get(whole.rpartition(".")[2])
    if not isinstance(items, tuple | list) or int(number) >= len(items):
        has = f"has {len(items)} items, from 0 on" if isinstance(items, tuple | list) else f"is {items!r}"
        raise UserError(f"--config.{path}={value}: there is no such item; config.{whole} {has}")
    return whole, (*items[: int(number)], value, *items[int(number) + 1 :])


def _missing(path, flag):
    if path.is_dir():
        return f"{flag}{path} is a folder; give one of its files, such as {next(path.glob('*.py'), path / 'x.py')}."
    if path.parent == Path() and not path.suffix:
        return f"{flag}{path}: there is no such file or name{shipped.nearest(str(path))}"
    if path.parent.is_dir() and (near := did_you_mean(str(path), map(str, path.parent.glob("*.py")))):
        return f"{flag}{path} does not exist{near}"
    if file := shipped.find(path.name):
        return f"{flag}{path} does not exist; {flag}{file.stem} comes with jaxcls."
    folder = "" if path.parent.is_dir() else f": there is no folder {path.parent}"
    return f"{flag}{path} does not exist{folder}; jaxcls configs lists those that come with it."


def _mistake(path, error):
    """One line for an exception from a config file: the file, the line and the reason."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}, line {error.lineno}: {error.msg}; mend it."
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{path}, line {frames[-1].lineno}: {frames[-1].line}" if frames else str(path)
    return f"{where}: {_reason(error)}"


def _reason(error):
    """ml_collections' reasons are long and of several lines; the others are kept as they are, with their type."""
    text = str(error)
    if match := re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text):
        return f"there is no key {match[2]!r}{did_you_mean(match[2], [match[1]])}"
    if match := re.search(r'Key "(\w+)" does not exist', text):
        return hints.unknown_key(match[1])
    if match := re.search(r"field '(\w+)'.*original type <class '(\w+)'>.*to type <class '(?:\w+\.)*(\w+)'>", text):
        examples = [v for key, v in flatten(default_config()) if key.rpartition(".")[2] == match[1] and v]
        such = f" such as {examples[0]!r}" if examples else ""
        return f"{match[1]} must be {_kind(match[3])}{such}, not {_kind(match[2])}."
    return f"{type(error).__name__}: {' '.join(text.split())[:200]}"


def _kind(name):
    kinds = {"str": "a text (str)", "int": "a whole number (int)", "float": "a number (float)", "bool": "True or False"}
    return kinds.get(name, "a section" if name == "ConfigDict" else f"a {name}")
