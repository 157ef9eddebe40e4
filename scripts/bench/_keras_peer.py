"""The same net in Keras on JAX, for step.py: that of keras.applications, with random weights."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxcls.training.run import Run

# Ours: of keras.applications, and whether its own preprocessing can be left out.
NETS = {
    "resnet50": ("ResNet50", False),
    "resnet101": ("ResNet101", False),
    "mobilenet_v2": ("MobileNetV2", False),
    "mobilenet_v3_large": ("MobileNetV3Large", True),
    "mobilenet_v3_small": ("MobileNetV3Small", True),
    "efficientnet_b0": ("EfficientNetB0", False),
    "convnext_tiny": ("ConvNeXtTiny", True),
    "densenet121": ("DenseNet121", False),
    "vgg16": ("VGG16", False),
}


class KerasPeer:
    """A net of keras.applications with a batch and SGD, in float32; uint8 pictures are normalised in the step.

    The step is that of Keras's JAX trainer (`JAXTrainer.train_step`: jit of value_and_grad over `stateless_call` and of
    the optimizer's `stateless_apply`, the state donated) without its metrics.

    Args:
      net: a Keras model that gives logits (`build`).
      images, labels: uint8 [n, height, width, channels] and int [n].
      normalize: (mean, standard deviation) of each channel.
    """

    def __init__(
        self,
        net: Any,
        images: np.ndarray,
        labels: np.ndarray,
        normalize: tuple,
        *,
        nesterov: bool = True,
        weight_decay: float = 1e-4,
    ) -> None:
        import jax
        import jax.numpy as jnp
        import optax

        keras = need_keras()
        mean, std = (jnp.asarray(x, jnp.float32) for x in normalize)
        decay = weight_decay or None  # that of each variable, decoupled: Keras has no other
        optimizer = keras.optimizers.SGD(1e-3, momentum=0.9, nesterov=nesterov, weight_decay=decay)
        optimizer.build(net.trainable_variables)
        self.batch = jax.device_put((images, labels.astype(np.int32)))
        variables = (net.trainable_variables, net.non_trainable_variables, optimizer.variables)
        self.state = tuple([jnp.array(v.value) for v in part] for part in variables)  # copies: steps donate them

        def logits(trainable, rest, images, training):
            pictures = (images.astype(jnp.float32) / 255 - mean) / std
            return net.stateless_call(trainable, rest, pictures, training=training)

        def loss(trainable, rest, images, labels):
            values, rest = logits(trainable, rest, images, True)
            return optax.softmax_cross_entropy_with_integer_labels(values, labels).mean(), rest

        def step(state, images, labels):
            trainable, rest, slots = state
            (value, rest), grads = jax.value_and_grad(loss, has_aux=True)(trainable, rest, images, labels)
            trainable, slots = optimizer.stateless_apply(slots, grads, trainable)
            return (trainable, rest, slots), value

        self._step = jax.jit(step, donate_argnums=0)
        self._forward = jax.jit(lambda trainable, rest, images: logits(trainable, rest, images, False)[0])

    @classmethod
    def of_run(cls, run: "Run", images: np.ndarray, labels: np.ndarray) -> "KerasPeer":
        """The peer of a run. UserError without Keras, or for a net or a precision it does not have here."""
        if run.model.precision != "float32":
            raise UserError("--peer keras computes in float32; use --precision float32.")
        net = build(run.model.name, run.model.spec["fields"], images.shape[1:], len(run.data.classes))
        optim = run.stored["optim"]
        decay = {"nesterov": optim["nesterov"], "weight_decay": optim["weight_decay"]}
        return cls(net, images, labels, run.data.normalize, **decay)

    def step(self, steps: int) -> None:
        """That many training steps; waits for the last one."""
        for _ in range(steps):
            self.state, value = self._step(self.state, *self.batch)
        value.block_until_ready()

    def forward(self, steps: int) -> None:
        """That many forward passes in inference mode, each time with the logits fetched."""
        for _ in range(steps):
            np.asarray(self._forward(*self.state[:2], self.batch[0]))


def need_keras() -> Any:
    """The module keras, on JAX. Raises UserError without it."""
    os.environ["KERAS_BACKEND"] = "jax"  # read when it is imported; TensorFlow otherwise
    try:
        import keras
    except ImportError:
        raise UserError("--peer keras needs Keras; install it with `pip install keras`.") from None
    return keras


def build(name: str, fields: dict[str, Any], shape: tuple[int, int, int], classes: int) -> Any:
    """The net called `name` for pictures of this shape. UserError for what keras.applications does not have."""
    keras = need_keras()
    if fields or name not in NETS:
        raise UserError(f"--peer keras knows no {name}{f' with {fields}' if fields else ''}; it has {', '.join(NETS)}.")
    theirs, bare = NETS[name]
    options = {"include_preprocessing": False} if bare else {}
    make = getattr(keras.applications, theirs)
    return make(weights=None, input_shape=shape, classes=classes, classifier_activation=None, **options)
