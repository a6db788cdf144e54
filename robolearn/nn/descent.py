"""Gradient descent on small networks: all parameters as one vector."""

import math
from collections.abc import Sequence

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

    def __init__(
        self,
        module: nn.Module,
        *,
        eps: float = 1e-8,
        deferred: bool = False,
        stacked: Sequence[str] = (),
    ) -> None:
        """Take over the parameters of ``module`` that require gradients.

        Args:
            module: Is learned.
            eps: Adam's.
            deferred: Leave it to ``check`` to look whether everything was finite. Until then no
                step waits for its device, and once something was not finite none changes anything;
                so steps can be captured in a CUDA graph.
            stacked: Names of S networks that have nothing in common, whose parameters those of
                ``module`` are stacked of, (S, ...) each: every one goes down its own gradient.
                Deferred only.
        """
        assert deferred or not stacked
        self._names, dim = stacked, 1 if stacked else 0  # dim of the vector
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        vector = nn.Parameter(torch.cat([p.detach().flatten(dim) for p in parameters], dim))
        self._gradient = torch.zeros_like(vector)
        vector.grad = self._gradient
        start = 0
        for parameter in parameters:
            size = parameter.numel() // max(len(stacked), 1)
            parameter.data = vector.data.narrow(dim, start, size).view_as(parameter)
            if not stacked:
                parameter.grad = self._gradient.narrow(dim, start, size).view_as(parameter)
            start += size
        self._parameters = parameters
        self._deferred, device = deferred, vector.device
        capturable = deferred and vector.is_cuda
        self.adam = torch.optim.Adam([vector], eps=eps, fused=True, capturable=capturable)
        if deferred:
            kind = torch.float32 if vector.is_cuda else torch.float64  # as fused Adam wants it
            self.adam.param_groups[0]["lr"] = torch.zeros((), device=device, dtype=kind)
            shape = (len(stacked),) if stacked else ()
            self._bad = torch.zeros(shape, device=device)  # 1 where first something was not finite
            self._stop = torch.zeros((), device=device)  # 1 from then on
            self._told = torch.zeros(2, *shape, device=device)  # loss and length till then
            self.adam.found_inf = self._stop  # type: ignore[attr-defined] - fused Adam looks at it

    def set_rate(self, rate: float) -> None:
        """Let further steps take this learning rate."""
        settings = self.adam.param_groups[0]
        if self._deferred:
            settings["lr"].fill_(rate)
        else:
            settings["lr"] = rate

    def forbid(self, where: Tensor) -> None:
        """Let further steps change nothing, once ``where`` is true; deferred only.

        Args:
            where: Shape (), or (S,) of S networks: where it is for one it is for all.
        """
        now = where.to(self._bad.dtype)
        self._bad.copy_(torch.where(self._stop > 0, self._bad, now))
        self._stop.copy_(self._bad.amax())

    def forgive(self) -> None:
        """Let further steps change something again; deferred only."""
        for kept in (self._bad, self._stop, self._told):
            kept.zero_()

    def check(self) -> None:
        """See whether everything was finite since the last time, where that is deferred.

        Raises:
            DivergedError: It was not; parameters and Adam's moments are as they were before that.
        """
        if self._deferred and self._stop.item():
            row = int(self._bad.argmax())
            loss, length = self._told[..., row].tolist() if self._names else self._told.tolist()
            self.forgive()
            _raise(loss, length, self._names[row] if self._names else "")

    def step(self, loss: Tensor, *, rate: float | None = None, max_norm: float) -> None:
        """Go down the gradient of a loss.

        Args:
            loss: Depends on the module's parameters. Shape (), or (S,) of S networks.
            rate: Learning rate; None for that of ``set_rate``.
            max_norm: A longer gradient is shortened to this; of S networks each by itself.

        Raises:
            DivergedError: The gradient, or the loss, is not finite; parameters and Adam's moments
                are as they were. Raised by ``check`` where that is deferred.
        """
        if rate is not None:
            self.set_rate(rate)
        self._differentiate(loss)
        norm = torch.linalg.vector_norm(self._gradient, dim=-1)
        if not self._deferred:
            figure, length = loss.item(), norm.item()  # on the CPU there is nothing to wait for
            if not (math.isfinite(figure) and math.isfinite(length)):
                _raise(figure, length)
        else:
            told = torch.stack([loss.detach(), norm])
            self._told.copy_(torch.where(self._stop > 0, self._told, told))
            self.forbid(~told.isfinite().all(dim=0))
        self._gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0)[..., None])
        self.adam.step()

    def _differentiate(self, loss: Tensor) -> None:
        if not self._names:
            self._gradient.zero_()
            loss.backward()
            return
        parts = torch.autograd.grad(loss, self._parameters, torch.ones_like(loss))
        torch.cat([part.flatten(1) for part in parts], dim=1, out=self._gradient)


def _raise(loss: float, length: float, name: str = "") -> None:
    if math.isfinite(loss) and math.isfinite(length):
        what = "A return is not finite"
    elif math.isfinite(loss):
        what = f"The gradient's length is {length}"
    else:
        what = f"The loss is {loss}"
    whose = f"{name}: " if name else ""
    raise DivergedError(f"{whose}{what}; nothing was learned from it. {REMEDY}")
