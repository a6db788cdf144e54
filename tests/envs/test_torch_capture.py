"""A step on a torch device can be captured: one shape, one storage, nothing seen by the host."""

import shutil

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from robolearn_envs.torch_vector import TorchVectorEnv

pytestmark = pytest.mark.usefixtures("small_datasets")

MODES = list(AutoresetMode)
every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
N, SEED = 4, 5
VARIANTS = [
    ("CartPoleBalance-v0", {}),
    ("CartPoleSwingUp-v0", {"domain_randomization": 0.2}),
    ("NavLidar-v0", {"level": 3, "domain_randomization": 0.2}),
    ("NavLidar-v0", {"level": 4, "curriculum": True, "action": "discrete"}),
    ("NavDepth-v0", {"level": 4, "domain_randomization": 0.2}),
]
every_variant = pytest.mark.parametrize(("task", "options"), VARIANTS)


def made(task, mode=AutoresetMode.SAME_STEP, **options):
    return TorchVectorEnv(f"robolearn/{task}", N, autoreset_mode=mode, **options)


def some_actions(env, steps):
    env.action_space.seed(0)
    actions = np.stack([env.action_space.sample() for _ in range(steps)])
    return torch.from_numpy(actions).to(env.device)


def mask(env):
    return torch.tensor([True, False, True, False], device=env.device)


# Storage.


def storage(env):
    """Return where all lies that steps begin from, by name."""
    engine = env._engine
    episodes, names = env._episodes, set(env.get_state()) - {"made_as"}
    own = {name: getattr(episodes, name) for name in names if "/" not in name}
    for name in names:
        group, _, part = name.partition("/")
        if part and group != "engine":
            own[name] = getattr(episodes, group)[part]
    own |= {"qpos": engine.qpos, "qvel": engine.qvel, "diverged": engine.diverged}
    own |= {"cylinders": engine._cylinders, "boxes": engine._boxes}
    fields = [name for name in env.task.robot.randomizable if name in env.parameters]
    own |= {f"field/{name}": getattr(engine._robot, name) for name in fields}
    return {name: (part.data_ptr(), part.shape, part.stride()) for name, part in own.items()}


@pytest.mark.slow
@every_mode
@every_variant
def test_state_is_kept_where_it_is(task, options, mode):
    env = made(task, mode, **options)
    env.reset(seed=SEED)
    places = storage(env)
    assert {"step_count", "needs_reset", "won", "qpos", "diverged"} < places.keys()
    env.set_episode_lengths(torch.tensor([1, 2, 3, 4]))  # so that there are resets within steps
    kept = env.get_state()
    for actions in some_actions(env, 6):
        env.step(actions)
        assert storage(env) == places
    env.reset(options={"reset_mask": mask(env)})
    env.reset(seed=7, options={"reset_mask": mask(env)})
    env.reset()
    env.set_state(kept)
    env.step(some_actions(env, 1)[0])
    assert storage(env) == places


@every_variant
def test_what_a_step_gives_is_not_overwritten_by_the_next(task, options):
    env = made(task, **options)
    given = tree_leaves(env.reset(seed=SEED)[0])
    kept = [part.clone() for part in given]
    env.set_episode_lengths(torch.tensor([1, 2, 3, 4]))
    for actions in some_actions(env, 5):
        step = tree_leaves(env.step(actions))
        given += step
        kept += [part.clone() for part in step]
    for part, copy in zip(given, kept, strict=True):
        assert torch.equal(part, copy)


# Nothing is looked at.

aten = torch.ops.aten
LOOKS = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.nonzero_numpy,
    aten.argwhere,
    aten.masked_select,
    aten.equal,
    aten.is_nonzero,
    aten.unique_dim,
    aten.unique_consecutive,
    aten._unique,
    aten._unique2,
    aten.repeat_interleave,
}
"""Operations whose result, or its size, the host waits for."""
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
MASKS = (torch.bool, torch.uint8)


class Looked(AssertionError):
    """The host looked at a tensor, or brought one to another device."""


class Unseen(TorchDispatchMode):
    """Lets nothing through that makes the host and a device wait for each other."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.overloadpacket in LOOKS:
            raise Looked(str(func))
        if func.overloadpacket in INDEXED:
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in MASKS for index in indices):
                raise Looked(f"{func} by a mask")
        result = func(*args, **kwargs)
        leaves = [part for part in tree_leaves((args, kwargs, result)) if torch.is_tensor(part)]
        if len({part.device.type for part in leaves}) > 1:
            raise Looked(f"{func} between devices")
        return result


def masked_store(x):
    x[x > 0] = 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "look",
    [
        lambda x: x[0].item(),
        lambda x: bool(x[0] > 0),
        lambda x: int(x.sum()),
        lambda x: x[x > 0],
        masked_store,
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: torch.equal(x, x),
        lambda x: x.unique(),
        lambda x: torch.where(x > 0),
        lambda x: x.repeat_interleave(x.to(torch.int64)),
        lambda x: x.to("meta"),
    ],
)
def test_the_guard_notices_who_looks(look):
    with pytest.raises(Looked), Unseen():
        look(torch.ones(3))


def test_the_guard_lets_indices_and_choices_pass():
    x, index = torch.ones(3), torch.tensor([2, 0])
    with Unseen():
        chosen = torch.where(x > 0, x[index].sum(), 0.0)
    assert chosen.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.slow
@every_mode
@every_variant
def test_nothing_of_a_step_or_of_a_masked_reset_is_looked_at(task, options, mode):
    env = made(task, mode, **options)
    env.reset(seed=SEED)
    env.set_episode_lengths(torch.tensor([1, 2, 3, 4]))
    actions, some = some_actions(env, 4), mask(env)
    with Unseen():
        for action in actions:
            env.step_fn(action)
            env.step(action)
        env.reset(options={"reset_mask": some})


@pytest.mark.slow
@every_mode
@every_variant
def test_nothing_of_a_step_or_of_a_masked_reset_comes_from_the_host(task, options, mode):
    # Tensors of the meta device have no numbers, so nobody can look at them by any means; and what
    # comes from the host comes from another device, as it would to a GPU.
    env = made(task, mode, device="meta", **options)
    env.reset(seed=SEED)
    action, some = some_actions(env, 1)[0], mask(env)
    with torch.no_grad(), Unseen():
        env.step_fn(action)
        env.step(action)
        env.reset(options={"reset_mask": some})


# Compiled.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "options", "mode"),
    [(*VARIANTS[1], MODES[0]), (*VARIANTS[2], MODES[1]), (*VARIANTS[3], MODES[2])],
)
def test_a_step_is_one_graph(task, options, mode):
    env, eager = made(task, mode, **options), made(task, mode, **options)
    torch._dynamo.reset()
    traced = torch.compile(env._step, backend="eager", fullgraph=True, dynamic=False)
    for each in (env, eager):
        each.reset(seed=SEED)
        each.set_episode_lengths(torch.tensor([1, 2, 3, 4]))
    for actions in some_actions(env, 5):
        with torch.no_grad():
            got, expected = traced(actions), eager.step_fn(actions)
        for one, other in zip(tree_leaves(got), tree_leaves(expected), strict=True):
            assert torch.equal(one, other)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler on the CPU: apt-get install g++",
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # of torch's own
def test_compiled_steps_are_the_others_within_rounding():
    env, eager = (made("CartPoleBalance-v0", compile_step=compiled) for compiled in (True, False))
    for each in (env, eager):
        each.reset(seed=SEED)
        each.set_episode_lengths(torch.tensor([3, 5, 7, 9]))
    ended = 0
    # 40 physics steps of random pushes off upright, where an error grows by exp(3.97 * 0.4) = 5
    # in 0.4 s at the most, each adding a unit in the last place of numbers below 2: 40 * 5 * 2^-23.
    for actions in some_actions(env, 20):
        got, expected = env.step(actions), eager.step(actions)
        for one, other in zip(tree_leaves(got), tree_leaves(expected), strict=True):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=0, atol=40 * 5 * 2.0**-23)
        ended += int(got[3].sum())
    assert ended == N  # each was cut once
    torch._dynamo.reset()
