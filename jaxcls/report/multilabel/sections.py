"""All sections on how good a model is whose labels are sets."""

from typing import TYPE_CHECKING

from jaxcls.report import notices
from jaxcls.report.evidence import Evidence
from jaxcls.report.importance import importance
from jaxcls.report.markup import Section
from jaxcls.report.multilabel.classes import classes, groups
from jaxcls.report.multilabel.curves import ranking
from jaxcls.report.multilabel.gallery import gallery
from jaxcls.report.multilabel.overview import measured
from jaxcls.report.multilabel.together import together
from jaxcls.report.multilabel.trust import trust

if TYPE_CHECKING:
    from jaxcls.report.pictures import Pictures


def sections(evidence: Evidence, pictures: "Pictures | None", why_not: str) -> list[Section | None]:
    """The sections in their order; None in the place of one that there is nothing for."""
    parts = [
        measured(evidence),
        classes(evidence),
        ranking(evidence),
        together(evidence),
        groups(evidence),
        importance(evidence),
        gallery(evidence, pictures, why_not),
        trust(evidence),
    ]
    return [notices.told(part, evidence) for part in parts]
