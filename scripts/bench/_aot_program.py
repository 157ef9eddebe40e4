"""What the text of a program that XLA has compiled for TPUs says of its cost, for aot.py."""

import collections
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s64": 8, "u64": 8, "f64": 8}  # else 4
COMPUTATION = re.compile(r"^(?:ENTRY )?%(\S+) .*\{$")
INSTRUCTION = re.compile(r"^\s+(ROOT )?%(\S+) = (\(.*?\)|\S+) ([a-z][\w-]*)\(")
NO_WORK = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "copy-done", "iota"}
NO_ESTIMATE = ("-start", "-done", "all-reduce", "custom-call")  # the last: mostly ConcatBitcast, no work
OTHERS = ("all-gather", "reduce-scatter", "all-to-all", "collective-permute")
MOVES = {*NO_WORK, "copy", "transpose", "reshape", "slice", "dynamic-slice", "concatenate", "broadcast", "convert"}


class Instruction(NamedTuple):
    """A line of a program.

    Attributes:
      result: its type as XLA writes it, layouts included; a tuple's is in brackets.
      cycles: XLA's estimate, 0 where it has none.
      backward: whether it computes gradients.
      calls: the name of the computation of a fusion, "" for others.
    """

    name: str
    result: str
    opcode: str
    root: bool
    cycles: int
    backward: bool
    calls: str

    def arrays(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(dtype, shape) of what it gives."""
        for dtype, shape in re.findall(r"\b([a-z]+\d+|pred)\[([\d,]*)\]", self.result):
            yield dtype, tuple(map(int, filter(None, shape.split(","))))

    @property
    def bytes(self) -> int:
        """Of what it gives, without the padding of layouts."""
        return sum(BYTES.get(dtype, 4) * math.prod(shape) for dtype, shape in self.arrays())


def parse(text: str) -> dict[str, list[Instruction]]:
    """Computation -> its instructions."""
    found: dict[str, list[Instruction]] = {}
    inside: list[Instruction] = []
    for line in text.splitlines():
        if opened := COMPUTATION.match(line):
            inside = found[opened[1]] = []
        elif match := INSTRUCTION.match(line):
            cycles = re.search(r'"estimated_cycles":"(\d+)"', line)
            calls = re.search(r"\bcalls=%([^\s,)]+)", line)
            inside.append(
                Instruction(
                    name=match[2],
                    result=match[3],
                    opcode=match[4],
                    root=bool(match[1]),
                    cycles=int(cycles[1]) if cycles else 0,
                    backward="transpose(" in line,
                    calls=calls[1] if calls and match[4] == "fusion" else "",
                )
            )
    return found


def kind(instruction: Instruction, program: dict[str, list[Instruction]]) -> str:
    """What a scheduled instruction spends its cycles on; of a fusion, the costliest thing in it."""
    inside = program.get(instruction.calls) or [instruction]
    opcodes = {inner.opcode for inner in inside}
    for inner in inside:
        if inner.calls:  # a fusion within a fusion
            opcodes |= {deeper.opcode for deeper in program.get(inner.calls, [])}
    direction = "backward" if instruction.backward else "forward"
    if opcodes & {"convolution", "dot"}:
        return f"products, {direction}"
    if opcodes & {"reduce-window", "select-and-scatter"}:
        return f"pooling, {direction}"
    if any(inner.opcode == "pad" and inner.root for inner in inside):
        return "pad"
    if "reduce" in opcodes:
        return "reductions"
    if opcodes <= MOVES | {"fusion"}:
        return "copies"
    return f"elementwise, {direction}"


def facts(text: str) -> dict[str, Any]:
    """The facts of a program; cycles are XLA's estimates, of one chip.

    Returns:
      dict: products (dtype of the result -> number of convolutions and matrix products), large_float32 (arrays of more
      than 3 M elements that are written to memory: shape -> number), copies (of more than 1 MB: type -> number,
      layouts apart), copy_bytes, all_reduces (dtype -> number, bytes), all_reduces_started (that do not block),
      collectives (the other kinds -> number, bytes of what they give, started: that do not block), cycles,
      cycles_by_kind, not_estimated (operation -> number of those that give more than 1 MB and have no estimate).
    """
    program = parse(text)
    fused = {instruction.calls for lines in program.values() for instruction in lines}
    scheduled = [i for name, lines in program.items() if name not in fused for i in lines if i.opcode not in NO_WORK]
    products: collections.Counter = collections.Counter()
    for lines in program.values():
        products.update(next(i.arrays())[0] for i in lines if i.opcode in ("convolution", "dot"))
    large: collections.Counter = collections.Counter()
    copies: collections.Counter = collections.Counter()
    by_kind: collections.Counter = collections.Counter()
    silent: collections.Counter = collections.Counter()
    reduced: dict[str, dict[str, int]] = {}
    collectives: dict[str, dict[str, int]] = {}
    copied = started = 0
    for i in scheduled:
        what = kind(i, program)
        by_kind[what] += i.cycles
        silent[i.opcode] += not i.cycles and i.bytes > 1e6 and not i.opcode.endswith(NO_ESTIMATE)
        large.update(str(list(shape)) for dtype, shape in i.arrays() if dtype == "f32" and math.prod(shape) > 3e6)
        if what == "copies" and i.opcode in ("copy", "transpose", "fusion") and i.bytes > 1e6:
            copies.update(f"{dtype}{list(shape)}" for dtype, shape in i.arrays())
            copied += i.bytes
        if (opcode := i.opcode.removesuffix("-start")) in OTHERS:
            entry = collectives.setdefault(opcode, {"number": 0, "bytes": 0, "started": 0})
            entry["number"] += 1
            entry["bytes"] += i.bytes
            entry["started"] += opcode != i.opcode
        if i.opcode in ("all-reduce", "all-reduce-start"):
            started += i.opcode == "all-reduce-start"
            dtypes = {dtype for dtype, _ in i.arrays()}
            entry = reduced.setdefault("+".join(sorted(dtypes)), {"number": 0, "bytes": 0})
            entry["number"] += 1
            entry["bytes"] += i.bytes
    return {
        "products": dict(products),
        "large_float32": dict(large),
        "copies": dict(copies),
        "copy_bytes": copied,
        "all_reduces": reduced,
        "all_reduces_started": started,
        "collectives": collectives,
        "cycles": sum(by_kind.values()),
        "cycles_by_kind": {name: cycles for name, cycles in by_kind.most_common() if cycles},
        "not_estimated": {opcode: n for opcode, n in silent.items() if n},
    }
