"""Batches of environments: on the host, or on a torch device."""

from typing import Any

from gymnasium.vector import VectorEnv

from robolearn_envs.engines import DEVICE_ENGINES
from robolearn_envs.names import pick
from robolearn_envs.tasks import TASKS


def make_batch(
    task: str,
    num_envs: int = 1,
    *,
    engine: str | None = None,
    device: Any = None,
    **options: Any,
) -> VectorEnv[Any, Any, Any]:
    """Return N copies of a task, stepped together.

    Args:
        task: One of ``robolearn_envs.tasks.TASKS``.
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
    on_device = pick("task", task, TASKS).device_engines
    if engine is None and device is not None and on_device:
        engine = on_device[0]
    if engine in DEVICE_ENGINES:
        from robolearn_envs.torch_vector import TorchVectorEnv  # torch takes a second to import

        return TorchVectorEnv(task, num_envs, engine=engine, device=device or "cpu", **options)
    if device is not None:
        there = " and ".join(on_device) or "none"
        raise ValueError(
            f"Only engines on a device take one, got device='{device}' and engine={engine!r}. "
            f"Those that {task} runs on: {there}."
        )
    from robolearn_envs.vector import RoboVectorEnv

    return RoboVectorEnv(task, num_envs, engine=engine, **options)
