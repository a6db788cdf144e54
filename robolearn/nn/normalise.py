"""Running normalisation of observations and value targets."""

import math

import torch
from torch import Tensor, nn

_SMALL = 0.02
"""Part of the largest magnitude that is added before a logarithm is taken."""


class RunningNorm(nn.Module):
    """Shifts and scales its input to zero mean and unit variance of all data seen so far.

    The moments are merged batch by batch (Chan, Golub & LeVeque, 1983) and saved with the
    module. Until the first update input within the limit comes out as it is, or its logarithm.
    """

    magnitude: Tensor
    mean: Tensor
    variance: Tensor
    count: Tensor
    _shift: Tensor
    _scale: Tensor

    def __init__(self, size: int, *, limit: float = 10.0, magnitude: Tensor | None = None) -> None:
        """Start as the identity.

        Args:
            size: Width of the last dimension.
            limit: Normalised values are clipped to +-limit; infinity clips nothing.
            magnitude: Where this is not 0 the input lies between 0 and it, and its logarithm is
                normalised in its place: what is near differs more than what is far.
                Shape (size,).
        """
        super().__init__()
        self._logarithmic = magnitude is not None
        self._fresh = True  # no data seen: shift 0, scale 1
        magnitude = torch.zeros(size) if magnitude is None else magnitude
        self.register_buffer("magnitude", magnitude, persistent=False)
        self.limit = limit
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("_shift", torch.zeros(size), persistent=False)
        self.register_buffer("_scale", torch.ones(size), persistent=False)
        self._refresh()

    @torch.no_grad()
    def update(self, batch: Tensor) -> None:
        """Merge a batch, which may be empty, into the moments, if all of it is finite.

        Args:
            batch: Shape (..., size).
        """
        data = self._taken(batch).reshape(-1, batch.shape[-1]).to(torch.float64)
        if not len(data):
            return
        variance, mean = torch.var_mean(data, dim=0, correction=0)
        total = self.count + data.shape[0]
        share = data.shape[0] / total
        delta = mean - self.mean
        spread = self.variance * (1 - share) + variance * share + delta**2 * share * (1 - share)
        sound = spread.isfinite().all()  # one number that is not would spoil the moments for good
        self.variance.copy_(torch.where(sound, spread, self.variance))
        self.mean.copy_(torch.where(sound, self.mean + delta * share, self.mean))
        self.count.copy_(torch.where(sound, total, self.count))
        self._fresh = False
        self._refresh()

    def _refresh(self) -> None:
        """Keep the float32 shift and scale that ``forward`` uses at hand, where they were."""
        self._shift.copy_(self.mean)
        self._scale.copy_(self.variance.clamp_min(1e-8).rsqrt())

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]
        self._fresh = not self.count.item()
        self._refresh()

    def _taken(self, x: Tensor) -> Tensor:
        """Return what is normalised: the input, or its logarithm."""
        if not self._logarithmic:
            return x
        part = x.clamp_min(0) / self.magnitude.clamp_min(1e-12)
        return torch.where(self.magnitude > 0, torch.log(part + _SMALL), x)

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised values, clipped. Shape as ``x``, float32."""
        x = self._taken(x)
        if not self._fresh:
            x = (x - self._shift) * self._scale
        return x if math.isinf(self.limit) else x.clamp(-self.limit, self.limit)

    def restore(self, y: Tensor) -> Tensor:
        """Return what ``forward`` maps to ``y`` where it does not clip or take logarithms."""
        return y if self._fresh else y / self._scale + self._shift
