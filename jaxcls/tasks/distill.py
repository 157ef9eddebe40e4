"""Distillation: a student learns from the labels and from a frozen teacher that sees the same augmented pictures."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls import losses, metrics
from jaxcls.errors import UserError
from jaxcls.state import Aux
from jaxcls.tasks.base import Task, Wrapper
from jaxcls.tasks.supervised import example_weights

HINTS = "hints"  # the key of the projections beside the student's own parameters


class Distill(Wrapper):
    """Adds what a teacher says to the loss of a supervised task.

    - soft: alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * the task's own loss (Hinton
      et al., Distilling the Knowledge in a Neural Network, section 2).
    - hard: half the task's own loss, half the cross entropy with the class that the teacher finds most likely (Touvron
      et al., Training data-efficient image transformers, eq. 3).

    A student with a distillation token (`models.vit`, `distilled`) learns the labels with its class token and the
    teacher's outputs with the other; its prediction is the mean of both. The loss of an example that class weights
    apply to has them on both parts.

    The teacher lies in `state.extra["teacher"]`, in inference mode, gets no gradient and is not saved. `init` does not
    make it: whoever starts a run puts it in (`Run.complete`), so it enters compiled functions as an argument.
    Evaluation needs the student alone.

    Args:
      inner: a Supervised.
      teacher: () -> an object with `model` (Linen) and `normalize`, (mean, std) of its pictures or None for those of
        the student. Called when the loss is traced, so that predicting needs no teacher.
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

    def __init__(
        self, inner, teacher, *, mode="soft", alpha=0.7, temperature=4.0, hints=(), hint_weight=1.0,
        normalize=((0.0,), (1.0,)), cache=False,
    ):  # fmt: skip
        super().__init__(inner)
        self.transient = (*inner.transient, "teacher")
        self.teacher, self.cache, self.normalize = teacher, cache, normalize
        self.mode, self.alpha, self.temperature = mode, alpha, temperature
        self.hints, self.hint_weight = tuple(hints), hint_weight

    def init(self, rng, batch, **given):
        """The inner task's, with the projections of the hints among the parameters, under "hints"."""
        params, model_state, extra = self.inner.init(rng, batch, **given)
        if self.hints:
            sizes = hint_channels(self.inner.model, self.teacher().model, self.hints, batch["image"].shape[1:])
            init = jax.nn.initializers.lecun_normal()
            keys = jax.random.split(jax.random.fold_in(rng, 1), len(sizes))
            pairs = zip(sizes.items(), keys, strict=True)
            params = {**params, HINTS: {name: {"kernel": init(key, size)} for (name, size), key in pairs}}
        return params, model_state, extra

    def loss(self, params, state, batch, rng):
        """Summed loss; metrics: those of the inner task, the summands "distillation" and "hints", and the teacher's
        accuracy on these pictures."""
        student, projections = without_hints(params), params.get(HINTS, {})
        (logits, out), model_state = self.inner.forward(student, state, batch, rng)
        taught, features = self._teach(state.extra["teacher"], batch)
        own, by_label = self.inner.example_loss(out.get("class_logits", logits), out, batch["label"])
        mask, weight = example_weights(batch)
        answer, weight_of_class = out.get("distillation_logits", logits), jnp.broadcast_to(by_label, mask.shape)
        if self.mode == "soft":
            share, learned = self.alpha, losses.distillation(answer, taught, self.temperature)
        else:
            share, learned = 0.5, losses.cross_entropy(answer, jnp.argmax(taught, axis=-1))
        loss = (1 - share) * own + share * weight_of_class * learned
        count, both = jnp.sum(weight * weight_of_class), weight * weight_of_class
        found = {
            "accuracy": (jnp.sum(mask * metrics.correct(logits, batch["label"])), jnp.sum(mask)),
            "teacher_accuracy": (jnp.sum(mask * metrics.correct(taught, batch["label"])), jnp.sum(mask)),
            "distillation": (jnp.sum(both * learned), count),
        }
        if self.hints:
            apart = sum(
                mean_square(out[ours], features[theirs], projections[ours]["kernel"]) for ours, theirs in self.hints
            )
            loss += self.hint_weight * weight_of_class * apart
            found["hints"] = (jnp.sum(both * apart), count)
        return jnp.sum(weight * loss), Aux(model_state, count, found)

    def predict(self, state, batch):
        """The student's prediction."""
        return self.inner.predict(state.replace(params=without_hints(state.params)), batch)

    def _teach(self, held, batch):
        """(logits, out) of the teacher for a batch, constants to differentiation."""
        if self.cache:
            if batch["label"].ndim == 2:
                raise UserError("config.distill.cache knows no mixed pictures; leave out the mixing, or the cache")
            return jax.lax.stop_gradient(held["logits"][batch["index"]]), {}
        teacher = self.teacher()
        image = renormalize(batch["image"], self.normalize, teacher.normalize)
        return jax.lax.stop_gradient(teacher.model.apply(jax.lax.stop_gradient(held), image, train=False))


class Teaching(Task):
    """Predicts with a teacher alone; in place of a state there are its variables. See Distill for the arguments."""

    def __init__(self, teacher, normalize):
        self.teacher, self.normalize = teacher, normalize

    def predict(self, state, batch):
        """`{"logits"}` of the teacher."""
        image = renormalize(batch["image"], self.normalize, self.teacher.normalize)
        return {"logits": self.teacher.model.apply(state, image, train=False)[0]}


def without_hints(params):
    """The parameters of the model itself."""
    return {name: value for name, value in params.items() if name != HINTS}


def renormalize(image, ours, theirs):
    """Pictures normalised by one (mean, std) as another one has them; unchanged where the other is None or equal."""
    if theirs is None or all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        return image
    (mean, std), (their_mean, their_std) = (map(np.float32, pair) for pair in (ours, theirs))
    return (image * std + (mean - their_mean)) / their_std


def mean_square(ours, theirs, kernel):
    """Mean square between a student's features after a projection and a teacher's: float32 [n].

    Args:
      ours: [n, ..., c], a map, tokens or a vector.
      theirs: [n, ..., d], of the same kind; maps may have another height and width.
      kernel: [c, d].
    """
    ours = ours.astype(jnp.float32) @ kernel
    theirs = theirs.astype(jnp.float32)
    if theirs.shape != ours.shape:
        theirs = jax.image.resize(theirs, ours.shape, "linear")  # antialiased where it becomes smaller
    return jnp.mean((ours - theirs) ** 2, axis=range(1, ours.ndim))


def hint_channels(student, teacher, hints, picture):
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
        found = jax.eval_shape(init, jax.random.key(0), image)
        return {name: x.shape for name, x in found.items() if hasattr(x, "shape")}

    sizes, found = {}, (features(student), features(teacher))
    for pair in hints:
        for whose, name, known in zip(("student", "teacher"), pair, found, strict=True):
            if name not in known:
                raise UserError(f"config.distill.hints: the {whose} has no {name!r}; it has {', '.join(known)}")
        ours, theirs = found[0][pair[0]], found[1][pair[1]]
        if len(ours) != len(theirs) or (len(ours) == 3 and ours[1] != theirs[1]):
            raise UserError(
                f"config.distill.hints: {pair[0]} of the student {ours[1:]} can't be compared with {pair[1]} of the "
                f"teacher {theirs[1:]}; choose another layer"
            )
        sizes[pair[0]] = (ours[-1], theirs[-1])
    return sizes
