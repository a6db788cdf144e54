"""Gradient descent on small networks: all parameters as one vector."""

import math

import torch
from torch import Tensor, nn

from robolearn.errors import DivergedError

REMEDY = "Try a lower learning_rate, or rewards of a smaller scale."


class Descent:
    """Adam (Kingma & Ba, 2015) on all parameters of a module, which come to lie side by side.

    Zeroing, clipping and stepping one long tensor instead of a dozen short ones saves about a
    sixth of a gradient step of networks as small as ours. The module's parameters become views of
    the vector: they can be read and written, also by ``load_state_dict``, but not moved to another
    device.
    """

    def __init__(self, module: nn.Module, *, eps: float = 1e-8) -> None:
        """Take over the parameters of ``module``; ``eps`` is Adam's."""
        parameters = list(module.parameters())
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
        self._first = torch.zeros(2, device=vector.device)
        """Loss and length of the gradient of the first step that was not taken."""
        self._broken = torch.zeros((), device=vector.device)  # 1 after such a step

    def step(self, loss: Tensor, *, rate: float, max_norm: float) -> None:
        """Go down the gradient of a loss, unless it, or another one before, was not finite.

        Args:
            loss: Depends on the module's parameters. Shape ().
            rate: Learning rate.
            max_norm: A longer gradient is shortened to this.
        """
        self._gradient.zero_()
        loss.backward()
        norm = torch.linalg.vector_norm(self._gradient)
        self._gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
        judged = torch.stack([loss.detach(), norm])
        self._first = torch.where(self._broken > 0, self._first, judged)
        self._broken = torch.maximum(self._broken, 1.0 - judged.isfinite().all().float())
        # The fused kernel leaves everything as it is where this is 1.
        self.adam.found_inf = self._broken  # pyright: ignore[reportAttributeAccessIssue]
        self.adam.param_groups[0]["lr"] = rate
        self.adam.step()

    def check(self) -> None:
        """Make sure that all steps so far were taken; waits for the device.

        Raises:
            DivergedError: A loss or a gradient was not finite. Nothing was changed by it, nor by
                any later one.
        """
        if not self._broken.item():
            return
        loss, norm = self._first.tolist()
        what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's length is {norm}"
        raise DivergedError(f"The {what}; nothing was learned from it. {REMEDY}")
