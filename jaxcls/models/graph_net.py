"""Graph nets of 100,000 parameters: Dwivedi et al. 2020 (arXiv 2003.00982), with layers of GCN, GIN or GAT.

GCN: Kipf, Welling 2017 (arXiv 1609.02907); GIN: Xu et al. 2019 (arXiv 1810.00826); GAT: Velickovic et al. 2018 (arXiv
1710.10903). The input is a graph beside the picture, and the picture is not looked at. Unlike theirs the classifiers of
GCN and GAT have no hidden layers, and only GIN's readouts of all layers go into one classifier, as theirs do.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.layers import graph
from jaxcls.models.registry import register

USUAL = 75  # nodes of a graph where shapes alone are wanted, those of MNISTSuperpixels
CONVS = ("gcn", "gin", "gat")


class GraphNet(Classifier):
    """A linear map of the nodes, `depth` layers (layer, BatchNorm, ReLU, shortcut), a readout, the classifier.

    Input beside the pictures (`layers.graph`): `nodes` [b, n, f], `edges` [b, n, n], `node_mask` [b, n], of any n. The
    logits depend neither on the order of the nodes nor on padding. Without a graph (shapes alone are wanted) it is one
    of 75 superpixels without edges: channels + 3 features a node.

    Fields:
      conv: "gcn", "gin" or "gat". depth, width: layers, features. heads: of gat.
      readout: "sum", "mean" or "max" over the nodes. jumping: whether the readouts of the first map and of all layers
        go side by side into the classifier (Xu et al., section 4.2), and not the last one alone.
      batch_norm: behind each layer and within GIN's MLPs, over nodes that are no padding. (Over devices that are
        mapped, `pmap`, each device's mean counts alike, however many nodes it has.)
      residual: the shortcuts. learn_eps: GIN's eps is learnt.

    `out`: `stem` is the first map, `stage1` .. the layers, `[b, n, width]`. Raises UserError for fields that can't be.
    """

    conv: str
    width: int
    depth: int = 4
    heads: int = 8
    readout: str = "mean"
    jumping: bool = False
    batch_norm: bool = True
    residual: bool = True
    learn_eps: bool = True
    head: ClassVar = ("classifier",)
    inputs: ClassVar = ("nodes", "edges", "node_mask")
    beside: ClassVar = "a graph"  # for messages
    remedy: ClassVar = "name graphs/FOLDER, as `jaxcls prepare SOURCE --superpixels 75 --out FOLDER` makes it"

    @nn.compact
    def __call__(
        self,
        images: Array,
        *,
        train: bool = False,
        nodes: Array | None = None,
        edges: Array | None = None,
        node_mask: Array | None = None,
    ) -> Outputs:
        self._check()
        if nodes is None:
            # of values of the pictures: what is counted per picture must depend on it
            first = images.reshape(images.shape[0], -1)[:, :1, None]
            nodes = jnp.broadcast_to(first, (images.shape[0], USUAL, images.shape[-1] + 3))
        mask = jnp.ones(nodes.shape[:2], jnp.float32) if node_mask is None else node_mask
        edges = jnp.zeros((*nodes.shape[:2], nodes.shape[1]), jnp.float32) if edges is None else edges
        edges = graph.real_edges(edges, mask, self.dtype)
        x = layers.dense(nodes.astype(self.dtype), self.width, name="embedding", **self.dtypes)
        out, seen = {"stem": x}, [graph.read_out(x, mask, self.readout)]
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes) if self.batch_norm else None
        act = nn.elu if self.conv == "gat" else nn.relu
        block = partial(self.rematerialised(Layer), self._layer(), norm, act, self.residual)
        for i in range(self.depth):
            x = block(name=f"layers.{i}")(x, edges, mask)
            out[f"stage{i + 1}"] = x
            seen.append(graph.read_out(x, mask, self.readout))
        out["pre_logits"] = jnp.concatenate(seen, axis=-1) if self.jumping else seen[-1]
        return self.classify(out["pre_logits"], "classifier", train=train), out

    def _check(self):
        layers.check_choice("conv", self.conv, CONVS)
        layers.check_choice("readout", self.readout, graph.READOUTS)
        for field in ("depth", "width", "heads"):
            layers.check_positive(field, getattr(self, field))

    def _layer(self):
        """A constructor of the layer itself."""
        if self.conv == "gin":
            return partial(graph.GINConv, self.width, learn_eps=self.learn_eps, **self.dtypes)
        if self.conv == "gat":
            return partial(graph.GATConv, self.width, heads=self.heads, **self.dtypes)
        return partial(graph.GCNConv, self.width, **self.dtypes)


class Layer(nn.Module):
    """A layer on a graph with what is around it: BatchNorm, activation, shortcut. `[b, n, c]` to the same.

    `made` and `norm` are constructors, of a layer of `layers.graph` and of a BatchNorm (None: there is none).
    """

    made: Any
    norm: Any
    act: Any
    residual: bool

    @nn.compact
    def __call__(self, x: Array, edges: Array, mask: Array) -> Array:
        def norm(y, name):
            return y if self.norm is None else self.norm(name=name)(y, mask=mask[..., None])

        y = self.act(norm(self.made(name="conv")(x, edges, norm), "norm"))
        return x + y if self.residual else y


register(partial(GraphNet, conv="gcn", width=146), "gcn")
register(partial(GraphNet, conv="gin", width=110, readout="sum", jumping=True), "gin")
register(partial(GraphNet, conv="gat", width=152), "gat")
