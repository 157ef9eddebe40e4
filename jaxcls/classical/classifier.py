"""Linear classifiers on standardised features, with C chosen on a validation split: an SVM and logistic regression."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxcls.errors import UserError
from jaxcls.types import Note

CLASSIFIERS = ("svm", "logistic")
GRID = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of C; the more pictures and features, the smaller the best one
DEFAULT_C = 1e-3  # where there is no validation split to choose it
ITERATIONS = 500


class LinearSVM:
    """A linear SVM: one class against the rest, squared hinge loss, L2 penalty on the weights but not on the offsets.

    For each class it minimises |w|^2 / 2 + C * sum of weight * max(0, 1 - y (w x + b))^2, for all of them at once by
    L-BFGS. The solution is that of scikit-learn's LinearSVC but for its penalty on offsets. Its solvers take minutes
    for what matrix products do in seconds where features are many and correlated, as HOG's are.

    Args:
      C: as in LinearSVC.
      class_weight: "balanced" weighs each picture by n / (classes * pictures of its class); None: by 1.
      max_iter: of L-BFGS.
    """

    def __init__(self, C: float, class_weight: str | None = None, max_iter: int = ITERATIONS):
        self.C, self.class_weight, self.max_iter = C, class_weight, max_iter

    def fit(self, features: np.ndarray, labels: np.ndarray) -> "LinearSVM":
        """Fits `weights` float32 [d, k] and `offsets` float32 [k] to features [n, d]; `classes_` are the k labels."""
        from scipy.optimize import minimize
        from sklearn.exceptions import ConvergenceWarning

        self.classes_, number, counts = np.unique(labels, return_inverse=True, return_counts=True)
        n, d, k = len(features), features.shape[1], len(counts)
        weight = n / (k * counts) if self.class_weight == "balanced" else np.ones(k)
        weight = weight[number, None].astype(np.float32)
        sign = np.where(number[:, None] == np.arange(k), 1, -1).astype(np.float32)

        def objective(flat):  # divided by C * n, so that a tolerance means the same for all
            w, b = flat[: d * k].reshape(d, k), flat[d * k :]
            slack = np.maximum(0, 1 - sign * (features @ w.astype(np.float32) + b.astype(np.float32)))
            down = -2 * weight * sign * slack
            penalty = 1 / (self.C * n)
            value = penalty * (w**2).sum() / 2 + float((weight * slack**2).sum(dtype=np.float64)) / n
            gradient = penalty * w + (features.T @ down) / n
            return value, np.concatenate([gradient.ravel(), down.sum(axis=0) / n]).astype(np.float64)

        start = np.zeros(d * k + k)
        options = {"maxiter": self.max_iter, "maxfun": 2 * self.max_iter, "gtol": 1e-5, "ftol": 1e-8}
        solution = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        if solution.nit >= self.max_iter:
            warnings.warn("the SVM has not converged", ConvergenceWarning, stacklevel=2)
        self.weights = solution.x[: d * k].reshape(d, k).astype(np.float32)
        self.offsets = solution.x[d * k :].astype(np.float32)
        return self

    def decision_function(self, features: np.ndarray) -> np.ndarray:
        """The margins, float32 [n, k]."""
        return features @ self.weights + self.offsets


@dataclasses.dataclass(frozen=True)
class Linear:
    """A fitted classifier: `scaler` standardises, `estimator` decides between `classes` classes."""

    scaler: Any
    estimator: Any
    classes: int

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, classes]: log-probabilities of logistic regression, margins of an SVM.

        The largest is the decision in both. Margins are no log-probabilities, so the loss computed from them says
        little. A class that was not trained gets less than all others.
        """
        scaled = self.scaler.transform(features)
        if hasattr(self.estimator, "predict_log_proba"):
            values = self.estimator.predict_log_proba(scaled)
        else:
            values = self.estimator.decision_function(scaled)
        out = np.full((len(features), self.classes), values.min() - 1, np.float32)
        out[:, self.estimator.classes_] = values
        return out


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    kind: str = "svm",
    C: float = DEFAULT_C,
    seed: int = 0,
    balanced: bool = False,
    smote: bool = False,
    note: Note = print,
) -> Linear:
    """Fits a classifier.

    Args:
      features, labels: float32 [n, d], int [n].
      classes: how many there are.
      kind: `svm` (one against the rest, squared hinge loss) or `logistic` (multinomial).
      C: inverse strength of the L2 penalty, in the units of scikit-learn: against the sum of the losses.
      seed: of SMOTE.
      balanced: weigh each class by 1 / frequency.
      smote: first fill up the rarer classes with neighbours' mixtures (`jaxcls.data.smote`), in standardised units.
      note: where a line goes if the fit has not converged.

    Raises:
      UserError: where fewer than two classes occur.
    """
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:
        raise UserError("the training pictures are of one class only; two are the least")
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    if smote:
        from jaxcls.data.smote import smote as fill_up

        scaled, labels = fill_up(scaled, labels, seed=seed)
    with _converging(f"{kind} with C={C:g}", note):
        return Linear(scaler, _estimator(kind, C, balanced).fit(scaled, labels), classes)


def choose(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray] | None,
    *,
    grid: Sequence[float] = GRID,
    note: Note = print,
    **settings: Any,
) -> tuple[Linear, float, dict[float, float]]:
    """Fits for every C of a grid and keeps the classifier that is right most often on the validation split.

    It is fitted on train alone, as a network is. Of equally good ones the strongest penalty (smallest C) is kept.

    Args:
      train, validation: (features, labels); without validation nothing is chosen, and the grid must have one value.
      grid: of C.
      note: where a line for each C goes.
      settings: of `fit`.

    Returns:
      (the classifier, its C, C -> accuracy on validation); the last is empty where nothing was chosen.
    """
    if validation is None:
        (C,) = grid
        return fit(*train, C=C, note=note, **settings), C, {}
    models, scores = {}, {}
    for C in sorted(grid):
        models[C] = fit(*train, C=C, note=note, **settings)
        scores[C] = float(np.mean(models[C].logits(validation[0]).argmax(axis=1) == validation[1]))
        note(f"C={C:g}: validation accuracy {scores[C]:.2%}")
    best = max(scores, key=lambda C: (scores[C], -C))
    if len(scores) > 1 and best in (min(scores), max(scores)):
        note(f"the best C={best:g} is at the end of the grid; --C can widen it")
    return models[best], best, scores


def _estimator(kind, C, balanced):
    from sklearn.linear_model import LogisticRegression

    common = {"C": C, "class_weight": "balanced" if balanced else None, "max_iter": ITERATIONS}
    return LinearSVM(**common) if kind == "svm" else LogisticRegression(**common)


@contextlib.contextmanager
def _converging(what: str, note: Note) -> Iterator[None]:
    """scikit-learn's warning as a line."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        note(f"warning: {what} has not converged; the result can still be good, a smaller C converges sooner")
