"""Gradient descent on small networks: all parameters as one vector."""

import math

import torch
from torch import Tensor, nn

from robolearn.errors import DivergedError

REMEDY = "Try a lower learning_rate, or rewards of a smaller scale."


class Descent:
    """Adam (Kingma & Ba, 2015) on all parameters of a module that are not frozen, side by side.

    Zeroing, clipping and stepping one long tensor instead of a dozen short ones saves about a
    sixth of a gradient step of networks as small as ours. The parameters become views of the
    vector: they can be read and written, also by ``load_state_dict``, but not moved to another
    device.
    """

    def __init__(self, module: nn.Module, *, eps: float = 1e-8) -> None:
        """Take over the parameters of ``module`` that require gradients; ``eps`` is Adam's."""
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        vector = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self._gradient = torch.zeros_like(vector)
        vector.grad = self._gradient
        start = 0
        for parameter in parameters:
            part = slice(start, start + parameter.numel())
            parameter.data = vector.data[part].view_as(parameter)
            parameter.grad = self._gradient[part].view_as(parameter)
            start = part.stop
        self.adam = torch.optim.Adam([vector], eps=eps, fused=True)

    def step(self, loss: Tensor, *, rate: float, max_norm: float) -> None:
        """Go down the gradient of a loss.

        Args:
            loss: Depends on the module's parameters. Shape ().
            rate: Learning rate.
            max_norm: A longer gradient is shortened to this.

        Raises:
            DivergedError: The gradient, or the loss, is not finite; parameters and Adam's moments
                are as they were.
        """
        self._gradient.zero_()
        loss.backward()
        norm = torch.linalg.vector_norm(self._gradient)
        figure, length = loss.item(), norm.item()  # on the CPU there is nothing to wait for
        if not (math.isfinite(figure) and math.isfinite(length)):
            what = f"gradient's length is {length}"
            if not math.isfinite(figure):
                what = f"loss is {figure}"
            raise DivergedError(f"The {what}; nothing was learned from it. {REMEDY}")
        self._gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
        self.adam.param_groups[0]["lr"] = rate
        self.adam.step()
