# ruff: noqa: D102 - Task says what the methods do
"""A task of your own: drive the cart of a cart-pole to a target, the pole hanging from it.

In this folder, or with it on PYTHONPATH, all commands take it by name:

    robolearn train ppo --env my_task:me/CartPoleReach-v0

It runs on MuJoCo, Bullet and the closed form (``--engine bullet``), also on torch. Arrays have a
row for each environment; ``sim.xp`` is NumPy or torch.
"""

import math
from collections.abc import Mapping
from typing import Any

from robolearn_envs import Field, InitialState, Marker, Sim, Task, register, tolerance
from robolearn_envs.arrays import Array, namespace
from robolearn_envs.robots import CartPole
from robolearn_envs.tasks import TaskState


class CartPoleReach(Task):
    """Drive the cart to a target, the pole hanging below it."""

    robot = CartPole()
    observation_fields = (
        Field("x", "m", "of the cart", -10.0, 10.0),
        Field("x_dot", "m/s", "of the cart", -20.0, 20.0),
        Field("cos, sin", "", "of the pole's angle, -1 and 0 when it hangs", size=2),
        Field("theta_dot", "rad/s", "of the pole", -40.0, 40.0),
        Field("away", "m", "from the cart to the target", -10.0, 10.0),
    )

    def begin(
        self, draws: Array, previous: TaskState | None, options: Mapping[str, Any]
    ) -> InitialState:
        qpos = namespace(draws).stack([0 * draws[:, 0], 0 * draws[:, 0] + math.pi], axis=-1)
        return InitialState(qpos, 0 * qpos, {"target": 3 * draws[:, 0] - 1.5})

    def observe(self, sim: Sim, state: TaskState) -> Array:
        x, theta = sim.qpos[:, 0], sim.qpos[:, 1]
        pole = [sim.xp.cos(theta), sim.xp.sin(theta), sim.qvel[:, 1]]
        return sim.xp.stack([x, sim.qvel[:, 0], *pole, state["target"] - x], axis=-1)

    def reward(self, sim: Sim, ctrl: Array, state: TaskState) -> dict[str, Array]:
        away = sim.qpos[:, 0] - state["target"]
        return {"near": tolerance(away, margin=1.0), "effort": -0.01 * ctrl[:, 0] ** 2}

    def terminated(self, sim: Sim, state: TaskState) -> Array:
        return sim.xp.abs(sim.qpos[:, 0]) > 2.4  # the end of the rail

    def metrics(self, sim: Sim, state: TaskState) -> dict[str, Array]:
        return {"success": sim.xp.abs(sim.qpos[:, 0] - state["target"]) < 0.1}

    def markers(self, state: TaskState, index: int) -> list[Marker]:
        return [Marker((float(state["target"][index]), 0.0, 1.0))]


register("me/CartPoleReach-v0", CartPoleReach, max_episode_steps=200)
