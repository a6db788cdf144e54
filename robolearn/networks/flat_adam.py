"""Gradient descent on small networks: all parameters as one vector."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from robolearn.errors import DivergedError
from robolearn.files import require_shape

REMEDY = "Try a lower learning_rate, or rewards of a smaller scale."


class FlatAdam:
    """Adam (Kingma & Ba, 2015) on the parameters of a module that require gradients, as one vector.

    One long tensor instead of a dozen short ones saves about a sixth of a gradient step of small
    networks. The parameters become views of the vector: they can be read and written, also by
    ``load_state_dict``, but not moved to another device. torch's fused Adam is called as a
    function, as making a ``torch.optim.Optimizer`` imports torch's compiler: 2 s and 75 MB.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        eps: float = 1e-8,
        rectified: bool = False,
        deferred: bool = False,
        stacked: Sequence[str] = (),
    ) -> None:
        """Take over the parameters of ``module``.

        Args:
            module: Is trained.
            eps: Adam's.
            rectified: Rectify the learning rate: RAdam (Liu et al., 2020).
            deferred: Check for numbers that are not finite only in ``check``. Until then no step
                waits for its device, and once there was one no step changes anything; so steps can
                be captured in a CUDA graph.
            stacked: Names of S independent networks, whose parameters are stacked in ``module``'s,
                shapes (S, ...). Deferred only.
        """
        assert deferred or not stacked
        self._names, dim = stacked, 1 if stacked else 0  # dim of the vector
        parameters = _learned(module)
        vector = nn.Parameter(torch.cat([p.detach().flatten(dim) for p in parameters], dim))
        self._gradient = torch.zeros_like(vector)
        vector.grad = self._gradient
        self._parameters, self.vector, self._eps = parameters, vector, eps
        self._hold()
        self.moments = {
            "step": torch.zeros((), device=vector.device),
            "exp_avg": torch.zeros_like(vector),
            "exp_avg_sq": torch.zeros_like(vector),
        }
        """Adam's state: number of steps, shape (), and running means of the gradient and its
        square, as the vector."""
        self.grad_norm = torch.zeros((len(stacked),) if stacked else (), device=vector.device)
        """Norm of the last step's gradient before clipping. Shape (), or (S,) of S networks."""
        self._deferred, self._rate, self._rectified = deferred, 0.0, rectified
        self.stopped: Tensor | None = None
        """1 once a number was not finite, else 0, shape (); None where it is not deferred."""
        if deferred:
            kind = torch.float32 if vector.is_cuda else torch.float64  # as fused Adam wants it
            self._rate = torch.zeros((), device=vector.device, dtype=kind)
            shape = (len(stacked),) if stacked else ()
            self._bad = torch.zeros(shape, device=vector.device)  # 1 where something first was bad
            self.stopped = torch.zeros((), device=vector.device)  # 1 from then on
            self._first_bad = torch.zeros(2, *shape, device=vector.device)  # loss, norm

    def _hold(self) -> None:
        """Copy the parameters into the vector and make them views of it."""
        start, dim = 0, 1 if self._names else 0
        for parameter in self._parameters:
            size = parameter.numel() // max(len(self._names), 1)
            place = self.vector.data.narrow(dim, start, size).view_as(parameter)
            parameter.data = place.copy_(parameter.data)
            if not self._names:
                parameter.grad = self._gradient.narrow(dim, start, size).view_as(parameter)
            start += size

    def restart(self, module: nn.Module) -> bool:
        """Reset Adam's moments and copy the present parameters back into the vector.

        They may lie in the vector of another optimizer of the same ``module`` meanwhile. The
        storage stays, so that a CUDA graph captured before trains them too.

        Returns:
            False, and nothing is changed, where other parameters require gradients now than then.
        """
        if list(map(id, _learned(module))) != list(map(id, self._parameters)):
            return False
        self._hold()
        self.load_state_dict({})
        if self._deferred:
            self.forgive()
        return True

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of further steps."""
        if isinstance(self._rate, Tensor):
            self._rate.fill_(rate)
        else:
            self._rate = rate

    def load_state_dict(self, moments: Mapping[str, Tensor]) -> None:
        """Load ``moments``, or reset them where the mapping is empty.

        Raises:
            ValueError: Tensors of other shapes or types.
        """
        for name, moment in self.moments.items():
            if not moments:
                moment.zero_()
                continue
            require_shape(name, moments[name], tuple(moment.shape))
            if moments[name].dtype != moment.dtype:
                raise ValueError(f"{name} has type {moments[name].dtype}, expected {moment.dtype}")
            moment.copy_(moments[name])

    def forbid(self, where: Tensor) -> None:
        """Stop further steps of all networks if ``where``, shape () or (S,), is true; deferred."""
        now = where.to(self._bad.dtype)
        assert self.stopped is not None
        self._bad.copy_(torch.where(self.stopped > 0, self._bad, now))
        self.stopped.copy_(self._bad.amax())

    def forgive(self) -> None:
        """Undo ``forbid``; deferred only."""
        assert self.stopped is not None
        for kept in (self._bad, self.stopped, self._first_bad):
            kept.zero_()

    def check(self) -> None:
        """Check that all numbers since the last check were finite, where that is deferred.

        Raises:
            DivergedError: They were not. Parameters and moments are as they were before that.
        """
        if self.stopped is not None and self.stopped.item():
            row = int(self._bad.argmax())
            bad = self._first_bad[..., row] if self._names else self._first_bad
            loss, length = bad.tolist()
            self.forgive()
            _raise(loss, length, self._names[row] if self._names else "")

    def step(self, loss: Tensor, *, rate: float | None = None, max_norm: float) -> None:
        """Take a gradient step.

        Args:
            loss: Depends on the module's parameters. Shape (), or (S,) of S networks.
            rate: Learning rate; None for that of ``set_rate``.
            max_norm: Largest norm of the gradient, of each of S networks; longer ones are clipped.

        Raises:
            DivergedError: Loss or gradient is not finite; nothing was changed. ``check`` raises it
                where that is deferred.
        """
        if rate is not None:
            self.set_rate(rate)
        if self._names:
            parts = torch.autograd.grad(loss, self._parameters, torch.ones_like(loss))
            torch.cat([part.flatten(1) for part in parts], dim=1, out=self._gradient)
        else:
            self._gradient.zero_()
            loss.backward()
        norm = torch.linalg.vector_norm(self._gradient, dim=-1)
        self.grad_norm.copy_(norm)
        if self.stopped is None:
            figure, length = loss.item(), norm.item()  # on the CPU there is nothing to wait for
            if not (math.isfinite(figure) and math.isfinite(length)):
                _raise(figure, length)
        else:
            found = torch.stack([loss.detach(), norm])
            self._first_bad.copy_(torch.where(self.stopped > 0, self._first_bad, found))
            self.forbid(~found.isfinite().all(dim=0))
        self._gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0)[..., None])
        adam_rate: Any = self._rate
        sgd_rate: Any = None
        if self._rectified:
            adam_rate, sgd_rate = self._rectified_rates()
        with torch.no_grad():
            adam(
                [self.vector],
                [self._gradient],
                [self.moments["exp_avg"]],
                [self.moments["exp_avg_sq"]],
                [],
                [self.moments["step"]],
                fused=True,
                capturable=self._deferred and self.vector.is_cuda,
                found_inf=self.stopped,  # skips the step where it is 1
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=adam_rate,
                weight_decay=0.0,
                eps=self._eps,
                maximize=False,
            )
            if sgd_rate is not None:
                self.vector.sub_(sgd_rate * self.moments["exp_avg"])

    def _rectified_rates(self) -> tuple[Any, Any]:
        """Return RAdam's learning rates of the next step, of Adam and of the mean gradient alone.

        One of them is 0; the second is None where that is known without waiting for the device.
        """
        step = self.moments["step"].double() + 1
        if self.stopped is None:
            factor = rectification(step.item())
            return self._rate * factor, None if factor else self._rate / (1 - 0.9 ** step.item())
        assert isinstance(self._rate, Tensor)
        factor = rectification(step)
        allowed = (factor == 0) & (self.stopped == 0)
        return (self._rate * factor).to(self._rate), self._rate * allowed / (1 - 0.9**step)


def rectification(step: Any) -> Any:
    """Return RAdam's factor of the learning rate (Liu et al., 2020, algorithm 2), for beta2 0.999.

    ``step`` counts from 1: an integer, or a float64 tensor of shape (). The factor is 0 in the
    first 5 steps, in which the variance of the gradient cannot be rectified.
    """
    power = 0.999**step
    rho_max = 2 / (1 - 0.999) - 1
    rho = rho_max - 2 * step * power / (1 - power)
    ratio = (rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho)
    return (rho > 5) * abs(ratio) ** 0.5


def _learned(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _raise(loss: float, length: float, name: str = "") -> None:
    if math.isfinite(loss) and math.isfinite(length):
        what = "A return is not finite"
    elif math.isfinite(loss):
        what = f"The gradient norm is {length}"
    else:
        what = f"The loss is {loss}"
    whose = f"{name}: " if name else ""
    raise DivergedError(f"{whose}{what}; no update was made. {REMEDY}")
