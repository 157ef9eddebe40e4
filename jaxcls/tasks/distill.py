"""Distillation: a student learns from the labels and from a frozen teacher that sees the same augmented pictures."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxcls.errors import UserError
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Wrapper
from jaxcls.tasks.supervised import Supervised, example_weights
from jaxcls.types import Batch, PyTree

HINTS = "hints"  # the key of the projections beside the student's own parameters
Normalization = tuple[Sequence[float], Sequence[float]]  # (mean, std) of pictures on the scale of [0, 1]


class Distill(Wrapper):
    """Adds what a teacher says to the loss of a supervised task.

    - soft: alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * the task's own loss (Hinton
      et al., Distilling the Knowledge in a Neural Network, section 2); of sets the KL of each class's yes and no.
    - hard: half the task's own loss, half the cross entropy with the class that the teacher finds most likely (Touvron
      et al., Training data-efficient image transformers, eq. 3).

    A student with a distillation token (`models.vit`, `distilled`) learns the labels with its class token and the
    teacher's outputs with the other; its prediction is the mean of both. The loss of an example that class weights
    apply to has them on both parts.

    The teacher lies in `state.extra["teacher"]`, in inference mode, gets no gradient and is not saved. Not `init` but
    `Run.complete` puts it there, so it enters compiled functions as an argument. Evaluation needs the student alone.

    Args:
      inner: a Supervised.
      teacher: () -> an object with `model` and `normalize` (networks.Network). Called when the loss is traced, so that
        predicting needs no teacher.
      mode: "soft" or "hard".
      alpha, temperature: of soft.
      hints: (layer of the student, layer of the teacher) pairs, of the names in the models' `out`. The mean square
        between the teacher's features and the student's, which pass through a trained 1x1 convolution, is added: Romero
        et al., FitNets, eq. 3, there without our mean and in a stage of its own. Of maps that differ in size the
        teacher's is resampled.
      hint_weight: of each hint.
      normalize: (mean, std) that the batches have been normalised with.
      cache: the state holds the teacher's logits, `{"logits": [pictures of the training split, classes]}`, in place of
        its variables; `batch["index"]` finds them.
    """

    inner: Supervised

    def __init__(
        self,
        inner: Supervised,
        teacher: Callable[[], Any],
        *,
        mode: str = "soft",
        alpha: float = 0.7,
        temperature: float = 4.0,
        hints: Sequence[tuple[str, str]] = (),
        hint_weight: float = 1.0,
        normalize: Normalization = ((0.0,), (1.0,)),
        cache: bool = False,
    ):
        super().__init__(inner)
        self.transient = (*inner.transient, "teacher")
        self.teacher, self.cache, self.normalize = teacher, cache, normalize
        self.mode, self.alpha, self.temperature = mode, alpha, temperature
        self.hints, self.hint_weight = tuple(hints), hint_weight

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """The inner task's, with the projections of the hints among the parameters, under "hints"."""
        params, model_state, extra = self.inner.init(rng, batch, weights)
        if self.hints:
            sizes = hint_channels(self.inner.model, self.teacher().model, self.hints, batch["image"].shape[1:])
            init = jax.nn.initializers.lecun_normal()
            keys = jax.random.split(jax.random.fold_in(rng, 1), len(sizes))
            pairs = zip(sizes.items(), keys, strict=True)
            params = {**params, HINTS: {name: {"kernel": init(key, size)} for (name, size), key in pairs}}
        return params, model_state, extra

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """Summed loss; metrics: those of the inner task, the summands "distillation" and "hints", and the teacher's
        own metrics on these pictures."""
        student, projections = without_hints(params), params.get(HINTS, {})
        (logits, out), model_state = self.inner.forward(student, state, batch, rng)
        teacher_logits, features = self._teacher_outputs(state.extra["teacher"], batch)
        loss, label_weight = self.inner.example_loss(out.get("class_logits", logits), out, batch["label"])
        mask, weight = example_weights(batch)
        label_weight = jnp.broadcast_to(label_weight, mask.shape)
        student_logits = out.get("distillation_logits", logits)
        if self.mode == "soft":
            share = self.alpha
            distillation = self.inner.distance(student_logits, teacher_logits, self.temperature)
        else:
            share, distillation = 0.5, self.inner.hard_loss(student_logits, teacher_logits)
        loss = (1 - share) * loss + share * label_weight * distillation
        full_weight = weight * label_weight
        count = jnp.sum(full_weight)
        of_teacher = self.inner.measured(teacher_logits, batch["label"], mask)
        figures = {
            **self.inner.measured(logits, batch["label"], mask),
            **{f"teacher_{name}": pair for name, pair in of_teacher.items()},
            "distillation": (jnp.sum(full_weight * distillation), count),
        }
        if self.hints:
            distance = sum(
                mean_square(out[ours], features[theirs], projections[ours]["kernel"]) for ours, theirs in self.hints
            )
            loss += self.hint_weight * label_weight * distance
            figures["hints"] = (jnp.sum(full_weight * distance), count)
        return jnp.sum(weight * loss), Aux(model_state, count, figures)

    def answering(self, state: TrainState, *, averaged: bool = True) -> dict[str, PyTree]:
        """The student's collections: no projections."""
        return self.inner.answering(state.replace(params=without_hints(state.params)), averaged=averaged)

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """The student's prediction."""
        return self.inner.predict(state.replace(params=without_hints(state.params)), batch)

    def _teacher_outputs(self, held, batch):
        """(logits, out) of the teacher for a batch, constants to differentiation."""
        if self.cache:
            if batch["label"].dtype == jnp.float32:
                raise UserError("config.distill.cache knows no mixed pictures; leave out the mixing, or the cache")
            return jax.lax.stop_gradient(held["logits"][batch["index"]]), {}
        teacher = self.teacher()
        image = renormalize(batch["image"], self.normalize, teacher.normalize)
        return jax.lax.stop_gradient(teacher.model.apply(jax.lax.stop_gradient(held), image, train=False))


def without_hints(params: PyTree) -> PyTree:
    """The parameters of the model itself."""
    return {name: value for name, value in params.items() if name != HINTS}


def renormalize(
    image: Float[Array, "*n h w c"], ours: Normalization, theirs: Normalization | None
) -> Float[Array, "*n h w c"]:
    """Pictures normalised by one (mean, std) as another one has them; unchanged where the other is None or equal."""
    if theirs is None or all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        return image
    mean, std, their_mean, their_std = (
        np.asarray(values, np.float32).reshape((1,) * (image.ndim - 1) + (-1,)) for values in (*ours, *theirs)
    )
    return (image * std + (mean - their_mean)) / their_std


def mean_square(
    ours: Float[Array, "n *places c"], theirs: Float[Array, "n *others d"], kernel: Float[Array, "c d"]
) -> Float[Array, " n"]:
    """Mean square between a student's features (a map, tokens or a vector) after a projection and a teacher's, which
    are of the same kind; maps may have another height and width."""
    ours = ours.astype(jnp.float32) @ kernel
    theirs = theirs.astype(jnp.float32)
    if theirs.shape != ours.shape:
        theirs = jax.image.resize(theirs, ours.shape, "linear")  # antialiased where it becomes smaller
    return jnp.mean((ours - theirs) ** 2, axis=range(1, ours.ndim))


def hint_channels(
    student: Any, teacher: Any, hints: Sequence[tuple[str, str]], picture: tuple[int, ...]
) -> dict[str, tuple[int, int]]:
    """Layer of the student -> (its channels, those of the teacher's layer); nothing is computed.

    Args:
      student, teacher: Linen modules.
      hints: (student's layer, teacher's layer) pairs.
      picture: (height, width, channels).

    Raises:
      UserError: for a layer that does not exist, or two that cannot be compared.
    """

    def features(model):
        image = jax.ShapeDtypeStruct((2, *picture), jnp.float32)
        init = lambda key, x: model.init_with_output(key, x, train=False)[0][1]  # noqa: E731
        out = jax.eval_shape(init, jax.random.key(0), image)
        return {name: x.shape for name, x in out.items() if hasattr(x, "shape")}

    sizes, shapes = {}, (features(student), features(teacher))
    for pair in hints:
        for whose, name, known in zip(("student", "teacher"), pair, shapes, strict=True):
            if name not in known:
                raise UserError(f"config.distill.hints: the {whose} has no {name!r}; it has {', '.join(known)}")
        ours, theirs = shapes[0][pair[0]], shapes[1][pair[1]]
        if len(ours) != len(theirs) or (len(ours) == 3 and ours[1] != theirs[1]):
            raise UserError(
                f"config.distill.hints: {pair[0]} of the student {ours[1:]} can't be compared with {pair[1]} of the "
                f"teacher {theirs[1:]}; choose another layer"
            )
        sizes[pair[0]] = (ours[-1], theirs[-1])
    return sizes
