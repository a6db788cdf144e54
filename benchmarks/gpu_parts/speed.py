"""How fast environments, iterations and updates are, and how far from what memory allows."""

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.spaces.utils import flatdim
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu_parts.common import Rows, Setting, batch, found, rate
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.collect.cuda_graph import NUM_WARMUP, CudaGraph
from robolearn.environments import EnvConfig
from robolearn.placement import make_room
from robolearn_envs.torch_vector import TorchVectorEnv

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="torch")
_AT_ONCE = 10  # steps in a graph of steps


class Operations(TorchDispatchMode):
    """Counts numbers computed: the entries of what every operation returns, but for views."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what an operation returns."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not func.is_view:
            self.count += result.numel()
        return result


def bandwidth(setting: Setting) -> float:
    """Return how many bytes a second are read or written when a long tensor is copied."""
    size = setting.size(2**28, 2**20)  # 1 GiB
    source = torch.zeros(size, device=setting.device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / setting.seconds(lambda: target.copy_(source))


def floor_bytes(envs: TorchVectorEnv, action: Tensor) -> int:
    """Return the bytes that a step must move at least: its state read and written, and the rest.

    State, episode counters and what the task remembers are read and written once, keys and actions
    read, observations, rewards and flags written; what is the same in all, as nothing is
    randomized, does not count.
    """
    kept = envs.get_state().items()
    state = sum(array.nbytes for name, array in kept if name != "made_as")
    keys = envs.num_envs * 8
    width = envs.num_envs * (4 * flatdim(envs.single_observation_space) + 4 + 1 + 1)
    return 2 * state - keys + width + action.nbytes


def actions_for(envs: TorchVectorEnv) -> Tensor:
    """Return random actions."""
    shape = (envs.num_envs, *(envs.single_action_space.shape or ()))
    if len(shape) == 1:
        return torch.randint(2, shape, device=envs.device)
    return torch.rand(shape, device=envs.device) * 2 - 1


def environments(setting: Setting) -> Rows:
    """Step environments alone, every operation a kernel."""
    return _stepped(setting, compile_step=False)


def compiled_environments(setting: Setting) -> Rows:
    """Step environments alone, compiled into few kernels: that takes Triton and a C compiler."""
    return _stepped(setting, compile_step=True)


def _stepped(setting: Setting, *, compile_step: bool) -> Rows:
    peak = bandwidth(setting)
    yield found("memory, copying", f"{peak / 1e12:.2f} TB/s")
    cases = [
        ("CartPoleBalance-v0", 16_384, ">= 100M"),
        ("CartPoleBalance-v0", 1_048_576, ">= 2G"),
        ("CartPoleSwingUp-v0", 16_384, ""),
        ("CartPoleBalance-v0", 131_072, ""),
        ("CartPoleBalance-v0", 4_096, ""),
    ]
    for task, count, goal in cases:
        count = setting.size(count, 64)
        envs = batch(task, count, setting, compile_step=compile_step)
        yield _environment(setting, envs, compile_step, goal, peak)
        del envs
        make_room()


def _environment(
    setting: Setting, envs: TorchVectorEnv, compile_step: bool, goal: str, peak: float
) -> dict[str, Any]:
    action = actions_for(envs)
    with torch.no_grad(), Operations() as operations:
        envs._step(action)

    def steps() -> None:
        with torch.no_grad():
            for _ in range(_AT_ONCE):
                envs.step_fn(action)

    run = CudaGraph(steps, capture=setting.cuda)
    for _ in range(NUM_WARMUP + 1):
        run()
    seconds = setting.seconds(run, repeats=20) / _AT_ONCE
    least = floor_bytes(envs, action)
    made = operations.count / envs.num_envs
    return found(
        f"{type(envs.task).__name__}, {envs.num_envs:,} envs{', compiled' if compile_step else ''}",
        rate(envs.num_envs / seconds),
        goal,
        steps_per_second=envs.num_envs / seconds,
        bytes_per_step=least / envs.num_envs,
        operations_per_step=made,
        over_floor=seconds / (least / peak),
        note=f"{least / envs.num_envs:.0f} bytes and {made:.0f} operations a step; "
        f"{seconds / (least / peak):.1f} times the floor of memory",
    )


def training(setting: Setting) -> Rows:
    """Let PPO learn cart-poles, all of it on the device."""
    return _trained(setting, ("graph", "off") if setting.cuda else ("off",))


def compiled_training(setting: Setting) -> Rows:
    """The same with environments that are compiled."""
    return _trained(setting, ("fuse",))


def _trained(setting: Setting, modes: Sequence[str]) -> Rows:
    for count in (16_384, 65_536, 4_096):
        config = PPOConfig(
            num_envs=setting.size(count, 64),
            n_steps=setting.size(32, 8),
            batch_size=setting.size(count * 32 // 8, 64),
            n_epochs=2,
        )
        for mode in modes:
            agent = PPO(BALANCE, config, seed=0, device=str(setting.device), compile=mode)
            size = config.rollout_size
            agent.learn((NUM_WARMUP + 2) * size)
            seconds = setting.seconds(lambda agent=agent, size=size: agent.learn(size))
            held = torch.cuda.max_memory_allocated() / 2**30 if setting.cuda else 0.0
            yield found(
                f"PPO with training, {config.num_envs:,} envs, {mode}",
                rate(size / seconds),
                ">= 20M",
                steps_per_second=size / seconds,
                gib=held,
                note=f"{held:.2f} GiB at most" if setting.cuda else "",
            )
            agent.close()
            del agent
            make_room()
            if setting.cuda:
                torch.cuda.reset_peak_memory_stats()


def updates(setting: Setting) -> Rows:
    """Time the updates of small networks, eager and captured, in turn."""
    if not setting.cuda:
        yield found("updates, graph against eager", "not measured: needs CUDA", ">= 4 times")
        return
    small = PPOConfig(num_envs=32, n_steps=32, batch_size=256)
    cases: list[tuple[str, Any, Any, int]] = [
        ("PPO iteration", PPO, small, small.rollout_size),
        ("DQN round", DQN, DQNConfig(num_envs=16, gradient_steps=32), 4 * 16),
    ]
    for name, cls, config, size in cases:
        agents = [
            cls(BALANCE, config, seed=0, device="cuda", compile=mode) for mode in ("off", "graph")
        ]
        taken: list[list[float]] = [[], []]
        for agent in agents:
            agent.learn(40 * size)
        for _ in range(10):
            for agent, times in zip(agents, taken, strict=True):
                times.append(
                    setting.seconds(lambda agent=agent, size=size: agent.learn(size), repeats=3)
                )
        eager, graph = (sorted(times)[len(times) // 2] for times in taken)
        yield found(
            f"{name}, with its steps: eager over graph", f"{eager / graph:.2f} times", ">= 4 times"
        )
