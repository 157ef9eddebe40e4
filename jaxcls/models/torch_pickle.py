"""The pickles inside PyTorch's files, read without running them.

A pickle is a program: whoever loads one with Python's `pickle` runs whatever its author liked. Here a small machine of
our own steps through it. It knows the opcodes that dicts of tensors need, makes texts, numbers, lists, dicts and
descriptions of tensors, and calls nothing: the few callables that PyTorch writes are recognised by their names, all
others are refused. Nor does it allocate what a damaged file only claims to hold.

A pickle of a few kilobytes can also ask for gigabytes or hours: by copying a long list again and again, by keys whose
hashes collide, by nests that hold each part twice. So all it does is counted (`STEPS`), keys are texts, and no value
is hashed, compared or printed whose size the file could choose.
"""

import pickletools
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxcls.errors import UserError

STORAGES = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
    "ComplexDouble": np.complex128,
    "ComplexFloat": np.complex64,
}
_DTYPES = {
    **{f"torch.{name}Storage": np.dtype(dtype) for name, dtype in STORAGES.items()},
    "torch.storage.UntypedStorage": np.dtype(np.uint8),
    **{f"torch.{name}": np.dtype(name) for name in ("uint16", "uint32", "uint64")},
    **{f"torch.{name}": np.dtype(getattr(ml_dtypes, name)) for name in ("float8_e4m3fn", "float8_e5m2")},
}
_REBUILD = "torch._utils._rebuild_"
_TENSORS = {_REBUILD + what for what in ("tensor", "tensor_v2", "tensor_v3")}
_PARAMETERS = {_REBUILD + what for what in ("parameter", "parameter_with_state")}
_NAMESPACE = "argparse.Namespace"  # a script's settings
_MODULE, _LISTS = "__torch__.", "torch.jit._pickle."  # of TorchScript: classes of modules; lists, which become None
# What training scripts like to save beside the weights; it becomes None.
_IGNORED = {
    "torch.device",
    "numpy.dtype",
    "_codecs.encode",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
}
_KNOWN = {"collections.OrderedDict", "torch.Size", _NAMESPACE, *_DTYPES, *_TENSORS, *_PARAMETERS, *_IGNORED}

_PUSHED = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "LONG4",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINSTRING",
    "SHORT_BINSTRING",
    "BINBYTES",
    "SHORT_BINBYTES",
}
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PASSED_OVER = {"PROTO", "FRAME", "STOP"}
STEPS = 400_000  # opcodes, and items that one of them copies; a tensor takes some 45
RANK = 32  # of a tensor: dimensions that NumPy had before its version 2
LONGEST_NAME = 1000  # characters of a tensor's name


class Storage(NamedTuple):
    """Numbers that tensors are views of: `numel` of a type, kept in the file under a key."""

    key: str
    dtype: np.dtype
    numel: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements of `dtype`."""

    storage: Storage
    dtype: np.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Namespace(dict[str, Any]):
    """The attributes of an argparse.Namespace."""


class Module(dict[str, Any]):
    """The attributes of a module of a TorchScript archive: tensors, modules below it, and others."""


class _Global(str):
    """The name of a callable."""


class Machine:
    """Steps through the pickle in some bytes, or at the position of a file.

    Raises UserError for what is refused. Whatever is damaged (a stack that is empty, a text where a tuple belongs) ends
    in an exception of any type.

    Attributes:
      left: steps that it may take yet.
      storages: key -> Storage, of all that the pickle mentions.
    """

    def __init__(self, data: bytes | IO[bytes], steps: int = STEPS):
        self.data, self.left = data, steps
        self.storages: dict[str, Storage] = {}
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle makes."""
        argument: Any
        for opcode, argument, _ in pickletools.genops(self.data):
            name = opcode.name
            self._spend(1)
            if name in _PUSHED:
                self.stack.append(argument)
            elif name in _MADE:
                self.stack.append(_MADE[name]())
            elif name in _TUPLES:
                self.stack[-_TUPLES[name] :] = [tuple(self.stack[-_TUPLES[name] :])]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[argument])
            elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                self._keep(len(self.memo) if argument is None else argument)
            elif name == "GLOBAL":
                self.stack.append(_known(argument.replace(" ", ".", 1)))
            elif name in _ACTIONS:
                _ACTIONS[name](self)
            elif name not in _PASSED_OVER:
                raise UserError(f"holds something else than weights (pickle's {name})")
        (result,) = self.stack
        return result

    def _spend(self, steps):
        self.left -= steps
        if self.left < 0:
            raise UserError(f"takes more than {STEPS:,} steps to read, which no weights need")

    def _keep(self, number):
        if number >= STEPS:  # Python numbers them one after the other
            raise ValueError("a place in the memo is out of range")
        self.memo[number] = self.stack[-1]

    def _above_mark(self):
        """Everything above the last mark, which is taken off the stack."""
        start = self.marks.pop()
        items, self.stack[start:] = self.stack[start:], []
        return items

    def _mark(self):
        self.marks.append(len(self.stack))

    def _tuple(self):
        self.stack.append(tuple(self._above_mark()))

    def _append(self):
        item = self.stack.pop()
        _extend(self.stack[-1], [item])

    def _appends(self):
        items = self._above_mark()
        _extend(self.stack[-1], items)

    def _setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        _update(self.stack[-1], [key, value])

    def _setitems(self):
        items = self._above_mark()
        _update(self.stack[-1], items)

    def _stack_global(self):
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a callable has no name")
        self.stack.append(_known(f"{module}.{name}"))

    def _build(self):
        attributes = self.stack.pop()  # those of a state dict are the versions of its modules
        if isinstance(self.stack[-1], (Namespace, Module)) and isinstance(attributes, dict):
            self._spend(len(attributes))
            self.stack[-1].update(attributes)

    def _reduce(self):
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise ValueError("something is called that is no function")
        if function == "collections.OrderedDict" and arguments:
            self._spend(len(arguments[0]))
        self.stack.append(_result(function, arguments))

    def _storage(self):
        """A storage is described by ("storage", type, key, device, count) and, in the older format, None."""
        described = self.stack.pop()
        if not isinstance(described, tuple) or len(described) > 6:
            raise ValueError("a storage is described in another way")
        what, dtype, key, _, numel, *view = described
        if what != "storage" or not isinstance(dtype, _Global) or not _is_name(key) or not _is_size(numel):
            raise ValueError("a storage is described in another way")
        if view not in ([], [None]):
            raise UserError("has views of storages, as PyTorch before 0.4 wrote them; save it again with a newer one")
        storage = Storage(key, _DTYPES[dtype], numel)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError("a storage is described twice")
        self.stack.append(storage)


_ACTIONS = {
    "MARK": Machine._mark,
    "TUPLE": Machine._tuple,
    "APPEND": Machine._append,
    "APPENDS": Machine._appends,
    "SETITEM": Machine._setitem,
    "SETITEMS": Machine._setitems,
    "STACK_GLOBAL": Machine._stack_global,
    "BUILD": Machine._build,
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._reduce,
    "BINPERSID": Machine._storage,
}


def _known(name):
    if name not in _KNOWN and not name.startswith((_MODULE, _LISTS)):
        raise UserError(
            f"wants to call {name[:100]!a}, which is refused since it could do anything; "
            "save the weights alone, with torch.save(model.state_dict(), ...)"
        )
    return _Global(name)


def _extend(target, items):
    if isinstance(target, list):
        target.extend(items)


def _update(target, items):
    """Sets keys that are texts. Others could take for ever: numbers whose hashes collide, tuples that hold tuples."""
    if isinstance(target, dict):
        pairs = zip(items[::2], items[1::2], strict=True)
        target.update((key, value) for key, value in pairs if _is_name(key))


def _result(function, arguments):
    """What the named callable would return."""
    if function in _IGNORED or function.startswith(_LISTS):
        return None
    if function.startswith(_MODULE):
        return Module()
    if function == _NAMESPACE:
        return Namespace()
    if function == "collections.OrderedDict":
        ordered: dict = {}
        for key, value in arguments[0] if arguments else ():  # Python 2 gave it pairs
            _update(ordered, [key, value])
        return ordered
    if function == "torch.Size" or function in _PARAMETERS:
        return arguments[0]
    if function not in _TENSORS:
        raise ValueError("a type is called")
    if len(arguments) > 10:
        raise ValueError("a tensor is described in another way")
    storage, offset, size, stride, *rest = arguments
    if not all(isinstance(x, (tuple, list)) and len(x) <= RANK for x in (size, stride)):
        raise ValueError(f"a tensor has no shape, or more than {RANK} dimensions")
    if not isinstance(storage, Storage) or not all(map(_is_size, (offset, *size, *stride))):
        raise ValueError("a tensor has an impossible place in its storage")
    dtype = storage.dtype
    if function.endswith("_v3"):
        _, _, named, *_ = rest
        dtype = _DTYPES[named] if isinstance(named, _Global) else None
    return Tensor(storage, dtype, offset, tuple(size), tuple(stride))


def _is_name(key):
    return isinstance(key, str) and len(key) <= LONGEST_NAME


def _is_size(n):
    return type(n) is int and 0 <= n < 2**63
