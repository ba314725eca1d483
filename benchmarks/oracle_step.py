"""How fast an oracle learns: our training step against the same step in PyTorch.

Run `python -m benchmarks.oracle_step`. The oracle of the study of Luo et al. 2021: the
CNN of Oberdiek et al. 2018 with a signed distance head, steep slope loss with alpha+ 2
and alpha- 5, Adam, batch 256, images of 28x28 in host memory. The two take turns, a
round is ten steps, and the ratio is that of the fastest rounds.
"""

# The rivals are the extra `bench`, which `make lint` does not install.
# pyright: reportMissingImports=false

import jax
import numpy as np
import torch
from torch import nn

from benchmarks._timing import interleaved
from trustjax import oracles

BATCH, SIDE, STEPS, ROUNDS = 256, 28, 10, 30
CONFIG = oracles.OracleConfig(
    "cnn", alpha_positive=2.0, alpha_negative=5.0, learning_rate=1e-3
)


def batch() -> dict[str, np.ndarray]:
    """Images of noise, nine tenths of them classified right."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.random((BATCH, SIDE, SIDE, 1), np.float32),
        "mask": np.ones(BATCH, bool),
        "correct": rng.random(BATCH) < 0.9,
    }


class TorchOracle(nn.Module):
    """The CNN with a signed distance head, in PyTorch."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
            nn.Dropout(0.33),
            nn.Conv2d(16, 16, 3),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
            nn.Dropout(0.33),
        )
        self.head = nn.Linear(144, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The signed distance of each image."""
        norm = self.head.weight.norm() + 1e-7
        return self.head(self.backbone(x))[:, 0] / norm


def torch_steep_slope(z: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
    """The loss of Luo et al. 2021 as the authors write it."""
    positive, negative = CONFIG.alpha_positive, CONFIG.alpha_negative
    softsign = z / (1 + z.abs())
    right = torch.exp(-positive * softsign) - np.exp(-positive)
    wrong = torch.exp(negative * softsign) - np.exp(-negative)
    return torch.where(correct, right, wrong).mean()


def jax_steps():
    """Ten steps of ours, and the loss over them."""
    arrays = batch()
    model = oracles.create(CONFIG, (SIDE, SIDE, 1))
    state, train_step = oracles.make_train_step(model, CONFIG, steps_per_epoch=1)

    def run() -> jax.Array:
        nonlocal state
        for _ in range(STEPS):
            state = train_step(state, arrays, 1.0)
        return state.loss_sum

    return run


def torch_steps():
    """Ten steps of PyTorch."""
    arrays = batch()
    image = torch.from_numpy(arrays["image"].transpose(0, 3, 1, 2).copy())
    correct = torch.from_numpy(arrays["correct"])
    torch.manual_seed(0)
    model = TorchOracle()
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG.learning_rate)

    def run() -> float:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = torch_steep_slope(model(image), correct)
            loss.backward()
            optimizer.step()
        return loss.item()

    return run


def main() -> None:
    ours, theirs = "trustjax", f"PyTorch {torch.__version__}"
    seconds = interleaved({ours: jax_steps(), theirs: torch_steps()}, ROUNDS)
    best = {name: min(each) for name, each in seconds.items()}
    print(f"{'':16}{'ms a step':>12}{'images/s':>12}{'x PyTorch':>12}")
    for name, value in best.items():
        rate, ratio = BATCH * STEPS / value, best[theirs] / value
        print(f"{name:16}{1e3 * value / STEPS:12.1f}{rate:12.0f}{ratio:12.2f}")


if __name__ == "__main__":
    main()
