"""Prioritized replay (Schaul et al., 2016): sampling by priority and importance weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from robolearn.files import require_shape


class SumTree:
    """A binary tree: leaves hold priorities, other nodes the sum of their children.

    All nodes lie in one tensor: the root at 1, the children of node i at 2i and 2i + 1, the
    leaves last.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        """Hold ``capacity`` leaves of priority 0."""
        self._levels = (capacity - 1).bit_length()
        self._first = 1 << self._levels  # node of leaf 0
        self._device = device
        self._nodes: Tensor | None = None  # allocated when first needed
        self.highest = torch.ones((), dtype=torch.float64, device=device)
        """The largest priority ever, at least 1, given to new steps. It never decays, as in dqn_zoo
        and Baselines. Shape ()."""

    @property
    def _node(self) -> Tensor:
        if self._nodes is None:
            size = 2 * self._first
            self._nodes = torch.zeros(size, dtype=torch.float64, device=self._device)
        return self._nodes

    @property
    def total(self) -> Tensor:
        """Sum of all priorities. Shape ()."""
        return self._node[1].clone()

    def get(self, leaf: Tensor) -> Tensor:
        """Return the priorities of leaves. Shape as ``leaf``, float64."""
        return self._node[self._first + leaf]

    def update(self, leaf: Tensor, priority: Tensor) -> None:
        """Set priorities, finite and not negative, shape (B,), of leaves, shape (B,), int64.

        Of a leaf given more than once the largest counts. Parents are the sums of their children,
        so that rounding errors do not add up.
        """
        priority = priority.to(self._node.dtype)
        torch.maximum(self.highest, priority.max(), out=self.highest)
        leaves = self._node[self._first :]
        leaves.scatter_reduce_(0, leaf, priority, "amax", include_self=False)
        node = self._first + leaf
        for _ in range(self._levels):
            node = node >> 1
            left = 2 * node
            self._node.scatter_(0, node, self._node.take(left) + self._node.take(left + 1))

    def state(self) -> dict[str, Tensor]:
        """Return the state, by name."""
        return {"node": self._node, "highest": self.highest}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load what ``state`` returned."""
        require_shape("node", state["node"], (2 * self._first,))
        require_shape("highest", state["highest"], ())
        self._node.copy_(state["node"])
        self.highest.copy_(state["highest"])

    def find(self, mass: Tensor) -> Tensor:
        """Return the leaves at which the running sum of priorities first exceeds ``mass``.

        Shape (...), int64, for masses in [0, total], shape (...), float64; total itself finds the
        last leaf. A leaf of priority 0 is never found, whatever the rounding, unless all are 0.
        """
        node = torch.ones_like(mass, dtype=torch.int64)
        for _ in range(self._levels):
            left = 2 * node
            left_mass = self._node.take(left)
            right = (mass >= left_mass) & (self._node.take(left + 1) > 0)
            mass = mass - left_mass * right
            node = left + right
        return node - self._first


def stratified(tree: SumTree, count: int, rng: torch.Generator) -> Tensor:
    """Sample ``count`` leaves by priority, one in each of as many equal strata, in ascending order.

    Schaul et al. (2016), appendix B.2.1. A priority of the tree must exceed 0.
    """
    place = torch.rand(count, dtype=torch.float64, device=rng.device, generator=rng)
    slices = torch.arange(count, device=rng.device)
    return tree.find((slices + place) / count * tree.total)


def importance_weights(
    priority: Tensor, total: Tensor | float, size: int, beta: Tensor | float
) -> Tensor:
    """Return (size * P)^-beta over the largest of the batch (Schaul et al., 2016, sec. 3.4).

    In (0, 1], of the shape of ``priority``: (..., B), not 0. ``total`` is the sum of all ``size``
    priorities. ``beta`` 0 leaves the bias of sampling by priority, 1 corrects it.
    """
    weight = (size * priority / total) ** -beta
    return weight / weight.amax(dim=-1, keepdim=True)
