"""The same net in PyTorch, for scripts/bench_step.py: torchvision's, or timm's where torchvision does not have it."""

import jax

from jaxcls.errors import UserError


class TorchPeer:
    """A net on PyTorch's GPU or CPU with the batch, SGD and precision of a job.

    channels_last, autocast below float32, torch.compile on a GPU; uint8 pictures lie on its device and are normalised
    in the step. Raises UserError without PyTorch, or for a net that neither library has.
    """

    def __init__(self, job, batch):
        try:
            import torch
        except ImportError:
            raise UserError("--peer torch needs PyTorch; install it with `pip install torch torchvision`.") from None
        config, self.torch = job.config, torch
        self.device = torch.device("cuda" if torch.cuda.is_available() and jax.default_backend() != "cpu" else "cpu")
        self.dtype = getattr(torch, config.precision)
        torch.set_float32_matmul_precision("high")  # TF32, as JAX has it on a GPU
        net = build(config.model.name, config.model.fields.to_dict(), batch[0].shape[-1], len(job.classes))
        self.net = net.to(self.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=1e-3, momentum=0.9, nesterov=config.optim.nesterov,
            weight_decay=config.optim.weight_decay,
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.images = torch.from_numpy(batch[0]).to(self.device).permute(0, 3, 1, 2)  # NHWC in memory: channels_last
        self.labels = torch.from_numpy(batch[1]).long().to(self.device)
        self.mean, self.std = (torch.tensor(x, device=self.device).view(1, -1, 1, 1) for x in job.normalize)
        compiled = torch.compile if self.device.type == "cuda" else lambda f: f
        self.logits, self.loss = compiled(self._logits), compiled(self._loss)

    def step(self, steps):
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

    def forward(self, steps):
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


def build(name, fields, channels, classes):
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


def airbench(channels, classes, widths=(64, 256, 256)):
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
