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

    def __init__(self, module: nn.Module, *, eps: float = 1e-8, deferred: bool = False) -> None:
        """Take over the parameters of ``module`` that require gradients.

        Args:
            module: Is learned.
            eps: Adam's.
            deferred: Leave it to ``check`` to look whether everything was finite. Until then no
                step waits for its device, and once something was not finite none changes anything;
                so steps can be captured in a CUDA graph.
        """
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
        self._deferred, device = deferred, vector.device
        capturable = deferred and vector.is_cuda
        self.adam = torch.optim.Adam([vector], eps=eps, fused=True, capturable=capturable)
        if deferred:
            kind = torch.float32 if vector.is_cuda else torch.float64  # as fused Adam wants it
            self.adam.param_groups[0]["lr"] = torch.zeros((), device=device, dtype=kind)
            self._bad = torch.zeros((), device=device)  # 1 once something was not finite
            self._told = torch.zeros(
                2, device=device
            )  # loss and length of the latest step till then
            self.adam.found_inf = self._bad  # type: ignore[attr-defined] - fused Adam looks at it

    def set_rate(self, rate: float) -> None:
        """Let further steps take this learning rate."""
        settings = self.adam.param_groups[0]
        if self._deferred:
            settings["lr"].fill_(rate)
        else:
            settings["lr"] = rate

    def forbid(self, where: Tensor) -> None:
        """Let further steps change nothing, once ``where``, of shape (), is true; deferred only."""
        torch.maximum(self._bad, where.to(self._bad.dtype), out=self._bad)

    def check(self) -> None:
        """See whether everything was finite since the last time, where that is deferred.

        Raises:
            DivergedError: It was not; parameters and Adam's moments are as they were before that.
        """
        if self._deferred and self._bad.item():
            self._bad.zero_()
            _raise(*self._told.tolist())

    def step(self, loss: Tensor, *, rate: float | None = None, max_norm: float) -> None:
        """Go down the gradient of a loss.

        Args:
            loss: Depends on the module's parameters. Shape ().
            rate: Learning rate; None for that of ``set_rate``.
            max_norm: A longer gradient is shortened to this.

        Raises:
            DivergedError: The gradient, or the loss, is not finite; parameters and Adam's moments
                are as they were. Raised by ``check`` where that is deferred.
        """
        if rate is not None:
            self.set_rate(rate)
        self._gradient.zero_()
        loss.backward()
        norm = torch.linalg.vector_norm(self._gradient)
        if not self._deferred:
            figure, length = loss.item(), norm.item()  # on the CPU there is nothing to wait for
            if not (math.isfinite(figure) and math.isfinite(length)):
                _raise(figure, length)
        else:
            told = torch.stack([loss.detach(), norm])
            self._told.copy_(torch.where(self._bad > 0, self._told, told))
            self.forbid(~told.isfinite().all())
        self._gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
        self.adam.step()


def _raise(loss: float, length: float) -> None:
    if math.isfinite(loss) and math.isfinite(length):
        what = "A return is not finite"
    elif math.isfinite(loss):
        what = f"The gradient's length is {length}"
    else:
        what = f"The loss is {loss}"
    raise DivergedError(f"{what}; nothing was learned from it. {REMEDY}")
