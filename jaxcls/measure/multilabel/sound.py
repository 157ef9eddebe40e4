"""Whether what is stored can be used as a decision about sets of labels. Loads nothing of ours."""

from __future__ import annotations

import math
from typing import Any

OUTPUT = "sigmoid"  # what "output" of such a decision says (tasks.base)


def sound(decision: dict[str, Any]) -> bool:
    """Whether a decision of `multilabel.decision` has all that answers need; raises half a dozen types where not."""
    classes, scale, bias = (decision[key] for key in ("classes", "scale", "bias"))
    entries = decision["thresholds"]
    good = decision["output"] == OUTPUT and isinstance(classes, list) and len(scale) == len(bias) == len(classes)
    good &= all(math.isfinite(x) and x > 0 for x in scale) and all(map(math.isfinite, bias))
    good &= [entry["index"] for entry in entries] == list(range(len(classes)))
    good &= all(0 <= entry["threshold"] <= 1 for entry in entries)
    if strange := decision.get("outliers"):
        good &= math.isfinite(strange["energy"]["threshold"]) and 0 < strange["accepted"] <= 1
        if far := strange.get("distance"):
            good &= math.isfinite(far["threshold"]) and far["k"] >= 1 and isinstance(far["sha256"], str)
    return bool(good)
