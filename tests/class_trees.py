"""Random trees of classes, and what brute force finds in them."""

from hypothesis import strategies as st


@st.composite
def pairs(draw):
    """(child -> parent, classes): a random forest of up to 14 nodes, classes being its leaves and some inner nodes."""
    count = draw(st.integers(4, 14))
    above = [draw(st.one_of(st.none(), st.integers(0, i - 1))) if i else None for i in range(count)]
    names = [f"n{i}" for i in range(count)]
    parents = {names[i]: "" if above[i] is None else names[above[i]] for i in range(count)}
    leaves = [name for name in names if name not in parents.values()]
    inner = [name for name in names if name in parents.values()]
    classes = draw(st.permutations(leaves + [name for name in inner if draw(st.booleans())]))
    return parents, tuple(classes)


def ancestors(parents, name):
    """A class and all above it, up to "" of the top."""
    way = [name]
    while way[-1]:
        way.append(parents[way[-1]])
    return way


def meeting(parents, a, b):
    """The lowest common ancestor; "" above all roots."""
    return next(name for name in ancestors(parents, a) if name in ancestors(parents, b))


def height(parents, classes, node):
    """Edges down to the deepest class."""
    return max(ancestors(parents, name).index(node) for name in classes if node in ancestors(parents, name))


def edges(parents, a, b):
    """Edges from a to b."""
    top = meeting(parents, a, b)
    return ancestors(parents, a).index(top) + ancestors(parents, b).index(top)
