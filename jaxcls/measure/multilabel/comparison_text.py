"""The parts of a comparison's Markdown that are of sets of labels."""

from collections.abc import Sequence

from jaxcls.measure.markdown import chance, interval, number, percent, rate, table
from jaxcls.types import Figures

SHOWN = 15  # classes of a pair whose differences are shown: the largest
NAMES = {"mAP": "mAP %", "f1": "F1, macro %", "f1_micro": "F1, micro %", "exact": "all right %", "hamming": "Hamming %"}
MEANING = (
    "Intervals and p are of redraws of the pictures, the same for both runs (paired bootstrap): would the one still be "
    "ahead of the other on other pictures like these? Another seed may turn the order round. Less Hamming is better."
)
CLASSES = (
    "Average precision of the classes that differ most. Of twenty classes that are alike one is expected to have an "
    "interval beside 0."
)


def runs(rows: Sequence[Figures]) -> str:
    """The table of runs."""
    heads = ("run", "mAP %", "95 % interval", *list(NAMES.values())[1:], "loss", "pictures", "step", "parameters")
    cells = [
        (
            row["name"],
            percent(row["mAP"]),
            interval(row["interval"]),
            *(percent(row[name]) for name in list(NAMES)[1:]),
            number(row["loss"]),
            str(row["count"]),
            str(row["step"]),
            f"{row['parameters']:,}" if row["parameters"] else "",
            rate(row["pictures_per_second"]),
        )
        for row in rows
    ]
    return table((*heads, "pictures/s"), cells)


def pairs(found: Sequence[Figures]) -> list[str]:
    """What was found of each pair, by figure and by class."""
    if not found:
        return []
    rows = [
        (
            pair["b"],
            pair["a"],
            name,
            percent(change["a"]),
            percent(change["b"]),
            percent(change["difference"], "+"),
            interval(change["interval"], "+"),
            chance(change["p"]),
            chance(pair["p_holm"]) if key == "mAP" else "",
        )
        for pair in found
        for key, name in NAMES.items()
        for change in (pair["figures"][key],)
    ]
    heads = ("run", "less", "of", "the other", "it", "difference", "95 % bootstrap", "p", "Holm p")
    parts = ["## Picture by picture", table(heads, rows), MEANING]
    classes = [
        (pair["b"], pair["a"], row["class"], str(row["support"]), percent(row["a"]), percent(row["b"]),
         percent(row["difference"], "+"), interval(row["interval"], "+"))
        for pair in found
        for row in sorted(pair["classes"], key=lambda row: -abs(row["difference"]))[:SHOWN]
    ]  # fmt: skip
    names = ("run", "less", "class", "pictures", "the other %", "it %", "difference", "95 % bootstrap")
    return [*parts, "## By class", table(names, classes), CLASSES] if classes else parts
