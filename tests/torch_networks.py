"""Small networks of PyTorch, torchvision's, and modules that are refused."""

# torch and torchvision are not installed where `make lint` runs.
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import torch
import torchax  # noqa: F401  what needs torch needs it too
from torch import nn

BATCH = 6


def of(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers).eval()


def made(module: nn.Module, *shape: int) -> tuple[nn.Module, torch.Tensor]:
    """In evaluation mode, with statistics that are not those of a new BatchNorm."""
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return module.eval(), torch.randn(BATCH, *shape)


class Convolutional(nn.Module):
    """A stem whose output is a map of features, and a head that pools it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 6, 3, padding=1, bias=False),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x))


def convolutional() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return made(Convolutional(), 2, 9, 9)


def grouped() -> tuple[nn.Module, torch.Tensor]:
    """Grouped, depthwise, dilated, transposed; pooling of both kinds."""
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(4, 8, 3, groups=2, padding="same", padding_mode="reflect"),
        nn.GELU(),
        nn.Conv2d(8, 8, 3, groups=8, dilation=2, padding=2),
        nn.GroupNorm(4, 8),
        nn.MaxPool2d(3, 2, 1),
        nn.ConvTranspose2d(8, 5, 3, stride=2, padding=1, output_padding=1),
        nn.Hardswish(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(80, 3),
    )
    return made(of(*layers), 4, 8, 8)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(10, 4, batch_first=True)
        self.dense = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.gru(self.lstm(x)[0])[0][:, -1])


def recurrent() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return made(Recurrent(), 5, 4)


class Tied(nn.Module):
    """A transformer whose embedding is its last layer, over a mask that it caches."""

    mask: torch.Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.embedding = nn.Embedding(10, 8)
        self.dense = nn.Linear(8, 10)
        self.dense.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.mask is None:
            self.mask = torch.ones(6, 6).tril() == 0
        seen = self.encoder(self.embedding(tokens), mask=self.mask)
        return self.dense(seen.mean(1))


def tied() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return Tied().eval(), torch.randint(0, 10, (BATCH, 6))


class Constants(nn.Module):
    """Tensors beside its buffers and made in the call, slices, no gradient in part."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = nn.Linear(4, 4)
        self.dense = nn.Linear(4, 3)
        self.beside = [torch.arange(4.0)]
        self.alone = torch.rand(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x = x + self.kept(x)
        x = x.clone()
        x[:, :1].zero_()
        x[:, 1:2].fill_(0.5)
        weights = torch.zeros(4, device=x.device)
        weights[1:] = torch.tensor([0.5, 1.0, 2.0])
        x = x * weights.to("cpu") + self.beside[0]
        return self.dense(x) * self.alone + torch.arange(3)


def constants() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return made(Constants(), 4)


def parametrized() -> tuple[nn.Module, torch.Tensor]:
    """Frozen layers, and weights that are computed from others."""
    torch.manual_seed(0)
    frozen = nn.Linear(6, 6).requires_grad_(False)
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
    bounded = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 3))
    module = of(frozen, nn.LayerNorm(6), nn.SiLU(), normed, nn.Tanh(), bounded)
    return module, torch.randn(BATCH, 6)


def video() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    layers = (nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU())
    pooled = (nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))
    return made(of(*layers, *pooled), 1, 4, 5, 5)


SMALL: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    make.__name__: make
    for make in (
        constants,
        convolutional,
        grouped,
        parametrized,
        recurrent,
        tied,
        video,
    )
}


class Straight(torch.autograd.Function):
    """Rounds, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


class Rounds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Straight.apply(self.dense(x))


class Asks(nn.Module):
    """What it computes depends on its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Sensitive(nn.Module):
    """The last digit of what its layer says decides what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(3000 * self.dense(x))


class Holds(nn.Module):
    """Something that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = (n for n in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Says(nn.Module):
    def forward(self, x: torch.Tensor) -> str:
        return "no tensor"


class Two(nn.Module):
    """Two inputs, of which one has a name."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 3)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (self.embedding(tokens) * mask[..., None]).sum(1)


class Output:
    """As some libraries return: an object with fields."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


class Several(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.dense, self.kind = nn.Linear(4, 3), kind

    def forward(self, x: torch.Tensor) -> Any:
        logits = self.dense(x)
        return {
            "dict": {"logits": logits, "aux": 2 * logits},
            "tuple": (logits, 2 * logits),
            "object": Output(logits),
        }[self.kind]


def without_lowering() -> tuple[nn.Module, torch.Tensor]:
    layers = (nn.Conv2d(2, 3, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    return made(of(*layers), 2, 5, 5)


def _doubled() -> tuple[nn.Module, torch.Tensor]:
    module, x = convolutional()
    module.get_submodule("head.0").register_forward_hook(lambda *seen: 2 * seen[2])
    return module, x


def _partly_training() -> tuple[nn.Module, torch.Tensor]:
    module, x = convolutional()
    module.get_submodule("stem.1").train()
    return module, x


def _pooled(*layers: nn.Module) -> Callable[[], tuple[nn.Module, torch.Tensor]]:
    """Wrong layers inside a network of several."""
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    block = of(nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True), *layers)
    return lambda: (of(nn.Conv2d(2, 4, 3), block, *head), torch.randn(BATCH, 2, 9, 9))


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "grouped transposed convolution": (
        _pooled(nn.ConvTranspose2d(4, 6, 3, groups=2)),
        ValueError,
        r"is not the same network in JAX: .*They part at 1\.2 \(ConvTranspose2d\)",
    ),
    "pooling that rounds up": (
        _pooled(nn.Sigmoid(), nn.AvgPool2d(2, ceil_mode=True)),
        ValueError,
        r"They part at 1\.3 \(AvgPool2d\), by 0\.\d+ from the same input",
    ),
    "an operator without a lowering": (
        without_lowering,
        NotImplementedError,
        r"aten::adaptive_max_pool2d, in 1 \(AdaptiveMaxPool2d\), .*operators=\{torch",
    ),
    "training mode": (
        lambda: (nn.Sequential(nn.Linear(2, 2)), torch.ones(2, 2)),
        ValueError,
        r"Sequential is in training mode, give module.eval\(\): Sequential, 0",
    ),
    "training mode of a part": (
        _partly_training,
        ValueError,
        r"is in training mode, give module.eval\(\): stem\.1$",
    ),
    "hooks that change the output": (_doubled, ValueError, "hooks change what Convol"),
    "a derivative of its own": (
        lambda: (Rounds().eval(), torch.randn(2, 4)),
        ValueError,
        "a derivative of its own, the autograd.Function Straight",
    ),
    "a weight made by a hook": (
        lambda: (of(nn.utils.weight_norm(nn.Linear(4, 3))), torch.ones(2, 4)),
        ValueError,
        r"0 makes a weight in a hook \(torch.nn.utils.weight_norm.WeightNorm\)",
    ),
    "a lazy layer": (
        lambda: (of(nn.LazyLinear(3)), torch.ones(2, 4)),
        ValueError,
        r"0\.weight has no shape yet",
    ),
    "a script": (
        lambda: (torch.jit.script(of(nn.Linear(4, 3))), torch.ones(2, 4)),
        TypeError,
        "got TorchScript",
    ),
    "no module": (lambda: (len, torch.ones(2, 4)), TypeError, "must be a torch.nn.Mod"),
    "no tensor": (lambda: (Says().eval(), torch.ones(2)), TypeError, "fields, got str"),
    "no copy": (
        lambda: (Holds().eval(), torch.ones(2)),
        ValueError,
        "cannot be copied",
    ),
}
