"""Encoders of observations: normalizer, MLP, CNN."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor, nn

from robolearn.errors import RobolearnError
from robolearn.spaces import flat_size, magnitudes

_SMALL = 0.02
"""Part of the largest magnitude that is added before a logarithm is taken."""


class RunningNorm(nn.Module):
    """Normalizes its input to zero mean and unit variance of all data seen so far.

    The moments are merged batch by batch (Chan, Golub & LeVeque, 1983) and saved with the
    module. Before the first update they are 0 and 1.
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
            limit: Normalized values are clipped to +-limit; infinity clips nothing.
            magnitude: Where this is not 0 the input lies between 0 and it, and its logarithm is
                normalized, which resolves near ranges better than far ones. Shape (size,).
        """
        super().__init__()
        self._logarithmic = magnitude is not None
        magnitude = torch.zeros(size) if magnitude is None else magnitude
        self.register_buffer("magnitude", magnitude, persistent=False)
        self.limit = limit
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("_shift", torch.zeros(size), persistent=False)
        self.register_buffer("_scale", torch.ones(size), persistent=False)

    @torch.no_grad()
    def update(self, batch: Tensor, stopped: Tensor | None = None) -> None:
        """Merge a batch, which may be empty, into the moments, if all of it is finite.

        Args:
            batch: Shape (..., size).
            stopped: Change nothing where this is not 0. Shape ().
        """
        if self._logarithmic:
            batch = self._log_scaled(batch)
        data = batch.reshape(-1, batch.shape[-1]).to(torch.float64)
        if not len(data):
            return
        variance, mean = torch.var_mean(data, dim=0, correction=0)
        total = self.count + data.shape[0]
        share = data.shape[0] / total
        delta = mean - self.mean
        spread = self.variance * (1 - share) + variance * share + delta**2 * share * (1 - share)
        sound = spread.isfinite().all()  # NaN would stay in the moments for ever
        sound = sound if stopped is None else sound & (stopped == 0)
        self.variance.copy_(torch.where(sound, spread, self.variance))
        self.mean.copy_(torch.where(sound, self.mean + delta * share, self.mean))
        self.count.copy_(torch.where(sound, total, self.count))
        self._shift.copy_(self.mean)  # float32, as ``forward`` uses them
        self._scale.copy_(self.variance.clamp_min(1e-8).rsqrt())

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]
        self._shift.copy_(self.mean)
        self._scale.copy_(self.variance.clamp_min(1e-8).rsqrt())

    def _log_scaled(self, x: Tensor) -> Tensor:
        """Return the logarithm of the entries that have a magnitude."""
        part = x.clamp_min(0) / self.magnitude.clamp_min(1e-12)
        return torch.where(self.magnitude > 0, torch.log(part + _SMALL), x)

    def forward(self, x: Tensor) -> Tensor:
        """Return normalized values, clipped. Shape as ``x``, float32."""
        if self._logarithmic:
            x = self._log_scaled(x)
        x = (x - self._shift) * self._scale
        return x if math.isinf(self.limit) else x.clamp(-self.limit, self.limit)

    def denormalize(self, y: Tensor) -> Tensor:
        """Return what ``forward`` maps to ``y`` where it does not clip or take logarithms."""
        return y / self._scale + self._shift


L = TypeVar("L", nn.Linear, nn.Conv2d)

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    *,
    activation: str = "tanh",
    input_gain: float = 1.0,
    output_gain: float = 1.0,
    generator: torch.Generator,
) -> nn.Sequential:
    """Return a fully connected network with orthogonal weights and zero biases.

    Args:
        inputs: Width of the input.
        hidden: Widths of the hidden layers.
        outputs: Width of the output, which has no activation.
        activation: 'tanh' or 'relu'.
        input_gain: Scale of the first layer's weights, over the usual one of the activation.
        output_gain: Scale of the last layer's weights; 0.01 makes a nearly uniform policy.
        generator: Draws the weights.
    """
    gain = math.sqrt(2) if activation == "relu" else 5 / 3
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for k, (before, after) in enumerate(pairwise(widths)):
        layers.append(linear(before, after, gain if k else gain * input_gain, generator))
        layers.append(ACTIVATIONS[activation]())
    last = output_gain if hidden else output_gain * input_gain
    return nn.Sequential(*layers, linear(widths[-1], outputs, last, generator))


def cnn(
    channels: int, height: int, width: int, outputs: int, *, generator: torch.Generator
) -> nn.Sequential:
    """Return a small convolutional network: images (B, channels, height, width) to (B, outputs).

    Three strided convolutions and a linear layer, each followed by a ReLU; orthogonal weights,
    which ``generator`` draws, and zero biases. Images have at least 16 x 16 pixels.
    """
    sizes = ((16, 8, 4, 0), (32, 4, 2, 1), (32, 3, 2, 1))  # channels, kernel, stride, padding
    layers: list[nn.Module] = []
    for made, kernel, stride, padding in sizes:
        layer = nn.Conv2d(channels, made, kernel, stride, padding)
        layers += [_orthogonal(layer, math.sqrt(2), generator), nn.ReLU(inplace=True)]
        channels = made
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
    last = linear(channels * height * width, outputs, math.sqrt(2), generator)
    return nn.Sequential(*layers, nn.Flatten(), last, nn.ReLU(inplace=True))


def linear(inputs: int, outputs: int, gain: float, generator: torch.Generator) -> nn.Linear:
    """Return a layer with orthogonal weights scaled by ``gain``, and zero biases."""
    return _orthogonal(nn.Linear(inputs, outputs), gain, generator)


def _orthogonal(layer: L, gain: float, generator: torch.Generator) -> L:
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


SMALLEST = 16
"""Pixels along either side below which a box is no image."""


class Image(NamedTuple):
    """An image in a flat observation."""

    columns: slice
    """Where its pixels are, in the order of ``box``."""
    box: spaces.Box
    """Its space."""


def find_images(space: Space) -> list[Image]:
    """Return the images among the parts of a single observation's space, in their order.

    An image is a box with finite bounds and shape (H, W), (H, W, C) or (C, H, W), H and W at
    least ``SMALLEST``.
    """
    images, start = [], 0
    for part in _leaves(space):
        stop = start + spaces.flatdim(part)
        if isinstance(part, spaces.Box) and len(part.shape) in (2, 3) and part.is_bounded():
            height, width, _ = _sides(part.shape)
            if min(height, width) >= SMALLEST:
                images.append(Image(slice(start, stop), part))
        start = stop
    return images


def _leaves(space: Space) -> Iterator[Space]:
    """Yield the spaces a space is made of, in the order of a flat observation."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for part in space.values() if isinstance(space, spaces.Dict) else space:
            yield from _leaves(part)
    else:
        yield space


def _sides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return an image's height, width and number of channels."""
    if len(shape) == 2:
        return shape[0], shape[1], 1
    first, middle, last = shape
    return (middle, last, first) if first <= last else (first, middle, last)


class ImageEncoder(nn.Module):
    """Scales one image of each observation from its bounds to [0, 1] and applies a CNN."""

    offset: Tensor
    scale: Tensor

    def __init__(self, image: Image, features: int, generator: torch.Generator) -> None:
        """Encode an image to ``features`` numbers; ``generator`` draws the weights."""
        super().__init__()
        self._columns, self._shape = image.columns, image.box.shape
        self._channels_first = len(self._shape) == 3 and self._shape[0] <= self._shape[2]
        low, high = (b.astype(np.float64).reshape(-1) for b in (image.box.low, image.box.high))
        scale = 1 / np.where(high > low, high - low, 1.0)
        for name, array in (("scale", scale), ("offset", -low * scale)):
            self.register_buffer(name, torch.from_numpy(array).float(), persistent=False)
        height, width, channels = _sides(self._shape)
        self.cnn = cnn(channels, height, width, features, generator=generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Return features of flat observations. Shape (..., features) for (..., D)."""
        pixels = torch.addcmul(self.offset, obs[..., self._columns], self.scale).flatten(0, -2)
        if self._channels_first:
            pictures = pixels.unflatten(-1, self._shape)
        else:  # also with one channel: convolutions are faster on this order in memory
            height, width, channels = _sides(self._shape)
            pictures = pixels.unflatten(-1, (height, width, channels)).permute(0, 3, 1, 2)
        return self.cnn(pictures).unflatten(0, obs.shape[:-1])


EncoderFactory: TypeAlias = Callable[[Space, torch.Generator], nn.Module]
"""Makes an encoder of the user's, for a single observation's space; the generator draws weights.

The module maps flat observations (..., D) to features (..., width); ``width`` is its attribute.
"""


class ObservationEncoder(nn.Module):
    """Normalizes the parts of a flat observation that are no images and encodes the images.

    An encoder of the user's takes the place of the image encoders. It gets the whole flat
    observation, normalized but for images.
    """

    rest: Tensor
    custom: nn.Module | None

    def __init__(
        self,
        space: Space,
        *,
        features: int,
        log_scale_obs: bool,
        normalize: bool,
        custom: EncoderFactory | None = None,
        generator: torch.Generator,
    ) -> None:
        """Build the encoders.

        Args:
            space: Of single observations.
            features: Width an image is encoded to.
            log_scale_obs: Take the logarithm of entries that cannot be negative, such as ranges.
            normalize: Normalize what is no image, else leave it as it is.
            custom: Makes an encoder of the user's; None for ours.
            generator: Draws the weights.

        Raises:
            RobolearnError: An encoder of the user's without a width, or with other outputs.
        """
        super().__init__()
        self._normalize = normalize
        self._frozen = False
        width, images = flat_size(space), find_images(space)
        self._pictured = bool(images)
        rest = torch.ones(width, dtype=torch.bool)
        for image in images:
            rest[image.columns] = False
        self.register_buffer("rest", rest.nonzero().squeeze(1), persistent=False)
        self.custom = None if custom is None else _make_encoder(custom, space, generator)
        if self.custom is not None:
            images = []
        self.width: int = (
            len(self.rest) + features * len(images) if self.custom is None else self.custom.width
        )  # type: ignore[assignment]
        """Width of the features."""
        self.images = nn.ModuleList(ImageEncoder(image, features, generator) for image in images)
        magnitude = torch.from_numpy(magnitudes(space))[self.rest] if log_scale_obs else None
        limit = 10.0 if normalize else math.inf
        self.observations = RunningNorm(len(self.rest), limit=limit, magnitude=magnitude)

    def forward(self, obs: Tensor) -> Tensor:
        """Return features of flat observations. Shape (..., F) for (..., D)."""
        if self.custom is not None:
            return self.custom(self._normalized(obs))
        if not self._pictured:
            return self.observations(obs)
        encoded = [image(obs) for image in self.images]
        return torch.cat([*encoded, self.observations(obs[..., self.rest])], dim=-1)

    @property
    def learns(self) -> bool:
        """Whether features come from layers that are trained."""
        return self.custom is not None or self._pictured

    def _normalized(self, obs: Tensor) -> Tensor:
        """Return flat observations, normalized but for images. Shape (..., D)."""
        if not self._pictured:
            return self.observations(obs)
        return obs.index_copy(-1, self.rest, self.observations(obs[..., self.rest]))

    def freeze_obs_norm(self) -> None:
        """Freeze the normalizer, as for a pretrained network."""
        self._frozen = True

    def awaits_normalization(self) -> bool:
        """Return whether the normalizer has seen no data yet; waits for the device."""
        updates = self._normalize and not self._frozen and len(self.rest) > 0
        return updates and self.observations.count.item() == 0

    def update_normalization(
        self, obs: Tensor, stopped: Tensor | None = None, *, even_frozen: bool = False
    ) -> None:
        """Update the running moments by flat observations, shape (..., D).

        Not where ``stopped``, shape (), is not 0, nor where frozen unless ``even_frozen``.
        """
        if self._normalize and len(self.rest) and (even_frozen or not self._frozen):
            self.observations.update(obs[..., self.rest] if self._pictured else obs, stopped)


def _make_encoder(factory: EncoderFactory, space: Space, generator: torch.Generator) -> nn.Module:
    """Return an encoder of the user's, whose weights depend on ``generator`` alone.

    Raises:
        RobolearnError: No module, one without a width, or one with outputs of another.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=()):  # layers draw their first weights from there
        torch.manual_seed(seed)
        encoder = factory(space, generator)
    if not isinstance(encoder, nn.Module):
        raise RobolearnError(
            f"encoder must return a torch.nn.Module, got {type(encoder).__name__}."
        )
    width = getattr(encoder, "width", None)
    if not isinstance(width, int) or width < 1:
        raise RobolearnError(
            f"The encoder {type(encoder).__name__} needs an attribute width, the number of its "
            f"features, got {width!r}."
        )
    for shape in ((2,), (3, 2)):
        with torch.no_grad():
            found = tuple(encoder(torch.zeros(*shape, flat_size(space))).shape)
        if found != (*shape, width):
            raise RobolearnError(
                f"The encoder {type(encoder).__name__} must map observations of shape "
                f"{(*shape, flat_size(space))} to {(*shape, width)}, got {found}."
            )
    return encoder
