"""How each primitive of JAX is written: primitive -> function(graph, eqn, operands) -> what comes out.

An operand is a `Value`, or a NumPy array where it depends on no picture (constant.py has those cases).
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
