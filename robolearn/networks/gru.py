"""Recurrent memory that is empty where an episode begins."""

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """A gated recurrent unit (Cho et al., 2014); what it says is what it remembers."""

    def __init__(self, inputs: int, width: int, generator: torch.Generator) -> None:
        """Remember ``width`` numbers of ``inputs`` at each step; ``generator`` draws the weights.

        Every gate's weights are orthogonal, biases zero.
        """
        super().__init__()
        self.cell = nn.GRUCell(inputs, width)
        with torch.no_grad():
            for weight in (self.cell.weight_ih, self.cell.weight_hh):
                for gate in weight.chunk(3):
                    nn.init.orthogonal_(gate, generator=generator)
            self.cell.bias_ih.zero_()
            self.cell.bias_hh.zero_()

    def forward(self, x: Tensor, before: Tensor, start: Tensor) -> Tensor:
        """Return the memory after one step. Shape (N, width).

        Args:
            x: What is seen. Shape (N, inputs).
            before: The memory before. Shape (N, width).
            start: An episode begins, before which nothing is remembered. Shape (N,), bool.
        """
        return self.cell(x, before * ~start[:, None])

    def sequence(self, x: Tensor, before: Tensor, start: Tensor) -> Tensor:
        """Return the memory after each of T steps. Shape (T, N, width).

        A loop: splitting at the starts for the library's own loop is at best a third faster.

        Args:
            x: What is seen. Shape (T, N, inputs).
            before: The memory before the first step. Shape (N, width).
            start: An episode begins. Shape (T, N), bool.
        """
        memories = []
        for seen, begins in zip(x, start, strict=True):
            before = self(seen, before, begins)
            memories.append(before)
        return torch.stack(memories)
