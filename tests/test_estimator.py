"""JaxClassifier among scikit-learn's tools: what it learns, what it refuses, and how it is cloned, searched, kept."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import jaxcls
from jaxcls.errors import UserError

# Rates are arguments, so all fits share one compilation
SETTINGS = {
    "duration": "100 steps", "schedule": {"peak": 0.1, "warmup": ""}, "parallel.devices": 1, "data.validation": 0.0,
    "eval.every": "100 steps", "checkpoint.every": "100 steps", "ema_decay": 0.9, "data.augment": ("resize(28)",),
}  # fmt: skip


def digits(n=400):
    found = load_digits()
    return (found.images[:n] * 15.9).astype(np.uint8), found.target[:n]


def classifier(**options):
    settings = {**SETTINGS, **options.pop("settings", {})}
    return jaxcls.JaxClassifier("lenet5_digits", settings=settings, **options)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Fitted with words for labels."""
    images, labels = digits()
    words = np.array([f"digit {label}" for label in labels])
    return classifier(workdir=tmp_path_factory.mktemp("fits")).fit(images[:300], words[:300]), images, words


def test_it_learns_and_answers_in_the_labels_words(fitted):
    model, images, words = fitted
    assert model.classes_.tolist() == sorted(set(words)) and model.score(images[300:], words[300:]) > 0.85
    p = model.predict_proba(images[300:])
    assert p.shape == (100, 10) and np.allclose(p.sum(axis=1), 1)
    assert (model.predict(images[300:]) == model.classes_[p.argmax(axis=1)]).all()
    row = model.predictor_(images[300])
    assert row["class"] == model.predict(images[300:301])[0] and np.isclose(row["probability"], p[0].max())


def test_it_is_pickled_by_its_workdir(fitted):
    model, images, _ = fitted
    assert model.workdir_.name == "fit" and (model.workdir_ / "config.json").exists()
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(images[:9]), model.predict_proba(images[:9]))


def test_mistakes_are_one_line(fitted):
    model, images, words = fitted
    with pytest.raises(UserError, match="fit had"):
        model.predict(images[:, :4])
    with pytest.raises(UserError, match="uint8"):
        model.predict(images / 255)
    with pytest.raises(UserError, match="must match"):
        classifier().fit(images[:5], words[:4])
    with pytest.raises(UserError, match="two or more"):
        classifier().fit(images[:5], [1] * 5)
    with pytest.raises(UserError, match="batch_size"):
        classifier(settings={"batch_siz": 3}).fit(images, words)
    with pytest.raises(NotFittedError):
        classifier().predict(images)


def test_parameters_and_what_check_estimator_asks_of_estimators_of_pictures():
    """Its checks of fitting are of rows of numbers, which no picture is, and scikit-learn leaves them out itself."""
    model = classifier(random_state=3)
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(random_state=5).random_state == 5
    results = check_estimator(jaxcls.JaxClassifier(), on_fail=None)
    assert results and {result["status"] for result in results} <= {"passed", "skipped"}


@pytest.mark.slow
def test_it_is_cross_validated_and_searched():
    images, labels = digits()
    scores = cross_val_score(classifier(), images, labels, cv=2, error_score="raise")
    assert scores.shape == (2,) and scores.min() > 0.7
    grid = [{**SETTINGS, "schedule": {"peak": peak, "warmup": ""}} for peak in (1e-6, 0.1)]
    found = GridSearchCV(classifier(), {"settings": grid}, cv=2, error_score="raise").fit(images, labels)
    assert found.best_params_["settings"] == grid[1] and found.predict(images[:3]).shape == (3,)
    with pytest.raises(UserError, match="workdir"):
        pickle.dumps(found.best_estimator_)


def test_sets_of_labels():
    images, labels = digits(200)
    sets = np.stack([labels % 2, labels > 4, labels == 3], axis=1).astype(np.int64)
    model = classifier(settings={"loss.label_smoothing": 0.0}).fit(images, sets)
    found, p = model.predict(images), model.predict_proba(images)
    assert found.shape == sets.shape and set(np.unique(found)) <= {0, 1} and ((p >= 0.5) == found).all()
    assert model.score(images, sets) == (found == sets).all(axis=1).mean() and (found == sets).mean() > 0.9
