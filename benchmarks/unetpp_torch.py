"""The network of pipeline/model/unetpp.py written plainly in PyTorch: used by training.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MIXED = torch.float16 if DEVICE == "cuda" and not torch.cuda.is_bf16_supported() else torch.bfloat16


class Block(nn.Sequential):
    """Convolution, normalisation and ReLU, twice."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters, eps=1e-3),
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters, eps=1e-3),
            nn.ReLU(inplace=True),
        )


class UNetPlusPlus(nn.Module):
    """From radiographs (N, 1, S, S), 0..1, to logits (N, L, S, S) of the L supervised heads."""

    def __init__(self, filters: list[int], deep_supervision: bool) -> None:
        super().__init__()
        last = len(filters) - 1
        self.pool = nn.MaxPool2d(2)
        self.blocks, self.ups = nn.ModuleDict(), nn.ModuleDict()
        for i, count in enumerate(filters):
            self.blocks[f"x_{i}_0"] = Block(filters[i - 1] if i else 1, count)
        for i, j in _decoder(last):
            self.ups[f"x_{i}_{j}"] = nn.ConvTranspose2d(filters[i + 1], filters[i], 2, 2)
            self.blocks[f"x_{i}_{j}"] = Block((j + 1) * filters[i], filters[i])
        heads = {f"lung_0_{j}": j for j in range(1, last + 1)} if deep_supervision else {}
        self.supervised = heads or {"lung": last}
        self.heads = nn.ModuleDict({name: nn.Conv2d(filters[0], 1, 1) for name in self.supervised})
        self.last = last

    def forward(self, radiograph: Tensor) -> Tensor:
        """Logits of every head."""
        grid = {(0, 0): self.blocks["x_0_0"](radiograph)}
        for i in range(1, self.last + 1):
            grid[i, 0] = self.blocks[f"x_{i}_0"](self.pool(grid[i - 1, 0]))
        for i, j in _decoder(self.last):
            up = self.ups[f"x_{i}_{j}"](grid[i + 1, j - 1])
            joined = torch.cat([grid[i, k] for k in range(j)] + [up], 1)
            grid[i, j] = self.blocks[f"x_{i}_{j}"](joined)
        return torch.cat([self.heads[name](grid[0, j]) for name, j in self.supervised.items()], 1)

    def take(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Take the trainable weights of the Keras network, by layer and name of the weight."""
        named: dict[str, nn.Module] = {f"{name}_up": up for name, up in self.ups.items()}
        named |= dict(self.heads.items())
        for name, block in self.blocks.items():
            parts = zip(("conv1", "norm1", "relu1", "conv2", "norm2", "relu2"), block, strict=True)
            named |= {f"{name}_{part}": layer for part, layer in parts}
        for path, value in weights.items():
            layer, _, name = path.rpartition("/")
            name = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(name, name)
            ours = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            with torch.no_grad():
                getattr(named[layer], name).copy_(torch.tensor(ours))


def _decoder(last: int) -> list[tuple[int, int]]:
    return [(i, j) for j in range(1, last + 1) for i in range(last - j + 1)]


class Step:
    """The training step on one batch of images and masks (N, S, S, 1), over and over."""

    def __init__(
        self,
        network: UNetPlusPlus,
        layout: str,
        precision: str,
        rate: float,
        *,
        compiled: bool = False,
    ) -> None:
        self._format = getattr(torch, layout)
        self._mixed = precision == "mixed"
        network = network.to(DEVICE, memory_format=self._format)
        self._network: Any = torch.compile(network) if compiled else network
        self._optimizer = torch.optim.Adam(network.parameters(), rate)
        self._steps = 0
        scaled = self._mixed and MIXED is torch.float16
        self._scaler = torch.amp.GradScaler(DEVICE, enabled=scaled)

    def losses(
        self, images: NDArray[np.uint8], masks: NDArray[np.float32], steps: int
    ) -> list[float]:
        """The loss of each of so many steps."""
        batch = [torch.from_numpy(array.transpose(0, 3, 1, 2)) for array in (images, masks)]
        # The device is waited for once, at the end.
        return [float(loss) for loss in [self._step(*batch) for _ in range(steps)]]

    def predictions(self, images: NDArray[np.uint8], batches: int, ahead: int) -> int:
        """How many radiographs had their probabilities brought back: so many times the batch.

        The device is given `ahead` further batches before an answer is asked for.
        """
        given = torch.from_numpy(images.transpose(0, 3, 1, 2))
        self._network.eval()
        answers: list[Tensor] = []
        with torch.inference_mode(), torch.autocast(DEVICE, MIXED, enabled=self._mixed):
            for _ in range(batches):
                scaled = (given.to(DEVICE).float() / 255).contiguous(memory_format=self._format)
                answers.append(torch.sigmoid(self._network(scaled)[:, -1].float()))
                if len(answers) > ahead:
                    answers.pop(0).cpu()
            for answer in answers:
                answer.cpu()
        self._network.train()
        return batches * len(images)

    def _step(self, images: Tensor, masks: Tensor) -> Tensor:
        images, masks = images.to(DEVICE), masks.to(DEVICE)
        scaled = (images.float() / 255).contiguous(memory_format=self._format)
        with torch.autocast(DEVICE, MIXED, enabled=self._mixed):
            logits = self._network(scaled)
        truth = masks.expand_as(logits)
        loss = functional.binary_cross_entropy_with_logits(logits.float(), truth)
        self._steps += 1
        for group in self._optimizer.param_groups:
            # Keras adds it to the root of the moment that is not yet corrected for its start.
            group["eps"] = 1e-7 / math.sqrt(1 - group["betas"][1] ** self._steps)
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach()
