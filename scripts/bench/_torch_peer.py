"""The same net in PyTorch, for step.py and gpu.py: torchvision's, or timm's where torchvision does not have it.

    python scripts/bench/_torch_peer.py --model resnet50 --batch 256 --precision bfloat16

measures its training step alone, on a GPU (--device cpu: without), and prints JSON.
"""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from _timing import interleave, summary

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxcls.training.run import Run

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class TorchPeer:
    """A net on PyTorch's GPU or CPU with a batch, SGD and a precision.

    channels_last, autocast below float32, torch.compile on a GPU; uint8 pictures lie on its device and are normalised
    in the step.

    Args:
      net: the module (`build`).
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
        device: str,
        precision: str = "float32",
        nesterov: bool = True,
        weight_decay: float = 1e-4,
    ) -> None:
        import torch

        self.torch, self.device, self.dtype = torch, torch.device(device), getattr(torch, precision)
        torch.set_float32_matmul_precision("high")  # TF32, as JAX has it on a GPU
        self.net = net.to(self.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=1e-3, momentum=0.9, nesterov=nesterov, weight_decay=weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")
        self.images = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)  # NHWC in memory: channels_last
        self.labels = torch.from_numpy(labels).long().to(self.device)
        self.mean, self.std = (torch.tensor(x, device=self.device).view(1, -1, 1, 1) for x in normalize)
        compiled = torch.compile if self.device.type == "cuda" else lambda f: f
        self.logits, self.loss = compiled(self._logits), compiled(self._loss)

    @classmethod
    def of_run(cls, run: "Run", images: np.ndarray, labels: np.ndarray) -> "TorchPeer":
        """The peer of a run, on the GPU if JAX has one. UserError without PyTorch, or for a net it does not have."""
        import jax

        torch, optim = need_torch(), run.stored["optim"]
        net = build(run.model.name, run.model.spec["fields"], images.shape[-1], len(run.data.classes))
        return cls(
            net,
            images,
            labels,
            run.data.normalize,
            device="cuda" if torch.cuda.is_available() and jax.default_backend() != "cpu" else "cpu",
            precision=run.model.precision,
            nesterov=optim["nesterov"],
            weight_decay=optim["weight_decay"],
        )

    def step(self, steps: int) -> None:
        """That many training steps; waits for the last one."""
        self.net.train()
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        loss.item()
        self._wait()

    def forward(self, steps: int) -> None:
        """That many forward passes in evaluation mode, each time with the logits fetched."""
        self.net.eval()
        with self.torch.no_grad():
            for _ in range(steps):
                self.logits().float().cpu()

    def _logits(self):
        images = (self.images.float() / 255 - self.mean) / self.std
        with self.torch.autocast(self.device.type, self.dtype, enabled=self.dtype != self.torch.float32):
            return self.net(images)

    def _loss(self):
        return self.torch.nn.functional.cross_entropy(self._logits().float(), self.labels)

    def _wait(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()


def need_torch() -> Any:
    """The module torch. Raises UserError without it."""
    try:
        import torch
    except ImportError:
        raise UserError("--peer torch needs PyTorch; install it with `pip install torch torchvision`.") from None
    return torch


def build(name: str, fields: dict[str, Any], channels: int, classes: int) -> Any:
    """The net called `name`; of ResNets with the field `stem="cifar"` of ours, too. UserError for what is not there."""
    try:
        import torchvision
    except ImportError:
        raise UserError("--peer torch needs torchvision; install it with `pip install torchvision`.") from None
    from torch import nn

    if name == "airbench94":
        return airbench(channels, classes)
    cifar = fields == {"stem": "cifar"} and name.startswith("resnet")
    if fields and not cifar:
        raise UserError(f"--peer torch knows no {name} with {fields}; of the fields only a ResNet's stem=cifar.")
    if name in torchvision.models.list_models(torchvision.models):
        net = torchvision.models.get_model(name, num_classes=classes)
    else:
        net = _from_timm(name, classes)
    if cifar:
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    if channels != 3:
        raise UserError("--peer torch takes pictures of 3 channels; use --channels 3.")
    return net


def airbench(channels: int, classes: int, widths: tuple[int, int, int] = (64, 256, 256)) -> Any:
    """The net of jaxcls/models/airbench.py."""
    from torch import nn

    class Times(nn.Module):
        def forward(self, x):
            return x / 9

    def norm(features):
        layer = nn.BatchNorm2d(features, eps=1e-12, momentum=0.6)
        layer.weight.requires_grad = False
        return layer

    whiten = nn.Conv2d(channels, 8 * channels, 2)
    whiten.weight.requires_grad = False
    parts, inputs = [whiten, nn.GELU()], 8 * channels
    for features in widths:
        parts += [nn.Conv2d(inputs, features, 3, padding=1, bias=False), nn.MaxPool2d(2), norm(features), nn.GELU()]
        parts += [nn.Conv2d(features, features, 3, padding=1, bias=False), norm(features), nn.GELU()]
        inputs = features
    return nn.Sequential(*parts, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(inputs, classes, bias=False), Times())


def _from_timm(name, classes):
    try:
        import timm
    except ImportError:
        raise UserError(f"torchvision has no {name}; for timm's install it: `pip install timm`.") from None
    if name not in timm.list_models():
        raise UserError(f"neither torchvision nor timm has a model called {name}: there is nothing to compare with.")
    return timm.create_model(name, num_classes=classes)


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a name of torchvision or timm")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures (default %(default)s)")
    parser.add_argument("--classes", type=int, default=1000, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=256, help="default %(default)s")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=20, help="steps of a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s, after one to warm up")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default %(default)s")
    args = parser.parse_args(argv)
    torch = need_torch()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"PyTorch {torch.__version__} finds no GPU (CUDA).")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (args.batch, args.size, args.size, 3), dtype=np.uint8)
    labels = random.integers(0, args.classes, args.batch)
    net = build(args.model, {}, 3, args.classes)
    peer = TorchPeer(net, images, labels, IMAGENET, device=args.device, precision=args.precision)
    began = time.perf_counter()
    peer.step(1)
    compile_s = time.perf_counter() - began
    peer.step(args.steps)
    times = interleave({"peer": peer.step}, args.steps, args.rounds)["peer"]
    memory = torch.cuda.max_memory_allocated() if args.device == "cuda" else None
    figures = summary(times, args.steps, args.batch) | {"compile_s": compile_s, "peak_memory_bytes": memory}
    print(json.dumps({"torch": torch.__version__} | figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
