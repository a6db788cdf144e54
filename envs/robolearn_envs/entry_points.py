"""What ``gymnasium.make`` and ``make_vec`` call, by the id of a registered task.

``robolearn_envs.entry_points:single robolearn/NavLidar-v0`` is such an entry point: so the task of
an id is not a keyword that a caller could change, and the spec is JSON.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from gymnasium.vector import VectorEnv

from robolearn_envs.engines import DEVICE_ENGINES
from robolearn_envs.registry import supported_engines, task_of


def __getattr__(name: str) -> Callable[..., Any]:
    """Return what makes a registered environment: its entry point, by name.

    So the task of an id is not a keyword that a caller could change.
    """
    kind, _, env_id = name.partition(" ")
    if not env_id:
        raise AttributeError(f"module 'robolearn_envs.entry_points' has no attribute '{name}'")
    if kind == "vector":
        return partial(make_vector, env_id)
    from robolearn_envs.single import RoboEnv

    make = partial(RoboEnv, env_id)
    make.metadata = RoboEnv.metadata  # type: ignore[attr-defined] - where gymnasium.make looks
    return make


def make_vector(
    env_id: str,
    num_envs: int = 1,
    *,
    engine: str | None = None,
    device: Any = None,
    **options: Any,
) -> VectorEnv[Any, Any, Any]:
    """Return N environments, stepped together: on the host, or on a torch device.

    Args:
        env_id: A registered id.
        num_envs: N.
        engine: 'torch' and 'warp' step tensors on a device, the others NumPy arrays; None for the
            task's default.
        device: A torch device, such as 'cuda'; without one engines on a device take the CPU.
        **options: Of :class:`~robolearn_envs.vector.RoboVectorEnv` or
            :class:`~robolearn_envs.torch_vector.TorchVectorEnv`.

    Raises:
        ValueError: An unknown name, or a combination that cannot be.
        ImportError: The engine is not installed.
    """
    on_device = [name for name in supported_engines(task_of(env_id)) if name in DEVICE_ENGINES]
    if engine is None and device is not None and on_device:
        engine = on_device[0]
    if engine in DEVICE_ENGINES:
        from robolearn_envs.torch_vector import TorchVectorEnv  # torch takes a second to import

        return TorchVectorEnv(env_id, num_envs, engine=engine, device=device or "cpu", **options)
    if device is not None:
        there = " and ".join(on_device) or "none"
        raise ValueError(
            f"Only engines on a device take one, got device='{device}' and engine={engine!r}. "
            f"Those that {env_id} runs on: {there}."
        )
    from robolearn_envs.vector import RoboVectorEnv

    return RoboVectorEnv(env_id, num_envs, engine=engine, **options)
