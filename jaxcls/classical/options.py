"""What a classical baseline is made of, and which choices go together."""

import dataclasses

from jaxcls.classical import classifier, hog, sift
from jaxcls.errors import Problems, UserError
from jaxcls.settings.reader import choose

FEATURES = ("hog", "sift", "pixels")
COLOURS = {"hog": hog.COLOURS, "sift": ("grey",), "pixels": ("channels", "grey")}  # the first is the default
CHECKS = {"hog": hog.check, "sift": sift.check, "pixels": lambda: None}
OWNERS = {"cell": "hog", "keypoints": "sift", "words": "sift", "pyramid": "sift", "weighting": "sift"}


@dataclasses.dataclass(frozen=True)
class Options:
    """`jaxcls baseline --help` says what each means. 0 and "" are the defaults, and so is an empty C."""

    features: str = "hog"
    classifier: str = "svm"
    size: int = 0
    colour: str = ""
    cell: int = 0
    keypoints: str = "dense"
    words: int = 512
    pyramid: bool = False
    weighting: str = "hellinger"
    C: tuple[float, ...] = ()
    balanced: bool = False
    smote: bool = False
    train_limit: int = 0

    def checked(self) -> "Options":
        """The same with the colour filled in.

        Raises:
          UserError: with a line for each option that cannot be, has no effect, or needs a package that is missing.
        """
        problems = Problems()
        with problems.noted():
            choose("--classifier", self.classifier, classifier.CLASSIFIERS)
        with problems.noted():
            choose("--features", self.features, FEATURES)
            CHECKS[self.features]()
            self._refuse_idle()
            choose(f"--colour of {self.features}", self._colour(), COLOURS[self.features])
        with problems.noted():
            choose("--keypoints", self.keypoints, sift.KEYPOINTS)
            choose("--weighting", self.weighting, sift.WEIGHTINGS)
        with problems.noted():
            if wrong := [c for c in self.C if not 0 < c < float("inf")]:
                raise UserError(f"--C {wrong[0]:g}: C must be above 0, and finite.")
        with problems.noted():
            if self.balanced and self.smote:
                raise UserError("--class-weight balanced has no effect after --smote evened the classes; drop one.")
        problems.refuse()
        return dataclasses.replace(self, colour=self._colour())

    def _colour(self):
        return self.colour or COLOURS[self.features][0]

    def _refuse_idle(self):
        for name, owner in OWNERS.items():
            if self.features != owner and getattr(self, name) != getattr(Options(), name):
                raise UserError(f"--{name} has no effect on --features {self.features}; it belongs to {owner}.")
