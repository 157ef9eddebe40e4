"""The same net in jaxnn (Flax NNX), for step.py: its ResNets.

Of its other nets, vision transformers, 0.2.0 can't be compiled: their `checkify.check` fails inside of `jax.jit` and
`nnx.jit`, and with `checkify.checkify` around them the counters of their dropout fail.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxcls.training.run import Run


class JaxnnPeer:
    """A net of jaxnn with a batch and SGD, in float32; uint8 pictures are normalised in the step.

    The step is NNX's usual one: `nnx.jit` of `nnx.value_and_grad` and of `nnx.Optimizer.update`, the model and the
    optimizer donated; the forward pass is compiled with the model's state as an argument.

    Args:
      net: an NNX module.
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
        from flax import nnx

        mean, std = (jnp.asarray(x, jnp.float32) for x in normalize)
        self.net, self.batch = net, jax.device_put((images, labels.astype(np.int32)))
        sgd = optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(1e-3, momentum=0.9, nesterov=nesterov))
        self.optimizer = nnx.Optimizer(net, sgd, wrt=nnx.Param)

        def logits(net, images):
            return net((images.astype(jnp.float32) / 255 - mean) / std)

        def loss(net, images, labels):
            return optax.softmax_cross_entropy_with_integer_labels(logits(net, images), labels).mean()

        def step(net, optimizer, images, labels):
            value, grads = nnx.value_and_grad(loss)(net, images, labels)
            optimizer.update(net, grads)
            return value

        self._step, self._forward = nnx.jit(step, donate_argnums=(0, 1)), nnx.jit(logits)

    @classmethod
    def of_run(cls, run: "Run", images: np.ndarray, labels: np.ndarray) -> "JaxnnPeer":
        """The peer of a run. UserError without jaxnn, or for a net or a precision it does not have here."""
        if run.model.precision != "float32":
            raise UserError("--peer jaxnn computes in float32; use --precision float32.")
        net = build(run.model.name, run.model.spec["fields"], len(run.data.classes))
        optim = run.stored["optim"]
        decay = {"nesterov": optim["nesterov"], "weight_decay": optim["weight_decay"]}
        return cls(net, images, labels, run.data.normalize, **decay)

    def step(self, steps: int) -> None:
        """That many training steps; waits for the last one."""
        self.net.train()
        for _ in range(steps):
            value = self._step(self.net, self.optimizer, *self.batch)
        value.block_until_ready()

    def forward(self, steps: int) -> None:
        """That many forward passes in evaluation mode, each time with the logits fetched."""
        self.net.eval()
        for _ in range(steps):
            np.asarray(self._forward(self.net, self.batch[0]))


def build(name: str, fields: dict[str, Any], classes: int) -> Any:
    """The ResNet called `name`. UserError without jaxnn, or for another net."""
    try:
        import jaxnn
    except ImportError:
        raise UserError("--peer jaxnn needs jaxnn; install it with `pip install jaxnn`.") from None
    if fields or not name.startswith("resnet") or not jaxnn.is_model(name):
        raise UserError(f"--peer jaxnn knows no {name}{f' with {fields}' if fields else ''}; it has ResNets only.")
    return jaxnn.create_model(name, num_classes=classes)
