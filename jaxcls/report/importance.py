"""What a net that takes columns beside the picture owes to each: the drops of training/importance.py."""

from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, paragraph, percent, section, table


def importance(evidence: Evidence) -> Section | None:
    """The section; None where nothing was measured."""
    found = evidence.importance
    if not found:
        return None
    order = sorted(found["drops"].items(), key=lambda item: -item[1]["mean"])
    rows = [
        (
            name[:1].upper() + name[1:] if name in ("picture", "all columns") else f"“{name}”",
            percent(found["accuracy"] - drop["mean"]),
            _points(drop["mean"]),
            f"± {100 * drop['sd']:.1f}",
        )
        for name, drop in order
    ]
    about = (
        f"Each is dealt anew among {found['rows']:,} rows, {found['shuffles']} times, so that it says nothing of its "
        f"row any more; accuracy is {percent(found['accuracy'])} where nothing is. What the answers fall by is what "
        "the net owes to it: about nothing for a column that it does not look at. Where two say the same, it can do "
        "without either, and both fall little: look at all columns together."
    )
    head = ("Shuffled", "Accuracy then", "Falls by (points)", "SD of shuffles")
    return section("importance", "Picture and columns", paragraph(about), table(head, rows))


def _points(share):
    return f"{100 * share:.1f}"
