"""All rules: primitive -> function(graph, eqn, operands) -> what comes out.

An operand is a `Value`, or a NumPy array where it depends on no picture (with neither of them `constant.compute` does
it).
"""

from collections.abc import Callable
from typing import Any

from jaxcls.export.rules import elementwise, linear, reduce, shapes, windows

RULES: dict[str, Callable[..., list[Any]]] = {
    **elementwise.RULES,
    **shapes.RULES,
    **reduce.RULES,
    **windows.RULES,
    **linear.RULES,
}
