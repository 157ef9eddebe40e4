"""Optimisers as optax chains of one structure (`chain.chain`), and what goes around them.

    tx = optim.sgd(schedules.cosine(0.1, 1000), momentum=0.9, weight_decay=5e-4, clip_norm=1.0)
    tx = optim.freeze(optim.adamw(rate, factors=(optim.layerwise(order, 0.75),)), ("^conv1/",))

Every optimiser takes the learning rate (a schedule, step -> rate) and the keywords of `chain.chain`.
"""

from jaxcls.optim.by_name import by_name, call_order, freeze, layer_numbers, layerwise
from jaxcls.optim.chain import DECAYED, scale_by_control
from jaxcls.optim.clipping import clip_adaptive
from jaxcls.optim.muon import muon
from jaxcls.optim.rules import adam, adamw, lamb, lars, lion, rmsprop_tf, sgd
from jaxcls.optim.wrappers import lookahead, sam

__all__ = [
    "DECAYED",
    "adam",
    "adamw",
    "by_name",
    "call_order",
    "clip_adaptive",
    "freeze",
    "lamb",
    "lars",
    "layer_numbers",
    "layerwise",
    "lion",
    "lookahead",
    "muon",
    "rmsprop_tf",
    "sam",
    "scale_by_control",
    "sgd",
]
