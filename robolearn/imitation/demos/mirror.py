"""Mirror images of demonstrations: what an expert did, it would do left for right as well."""

from dataclasses import replace

import gymnasium as gym

from robolearn.errors import RobolearnError
from robolearn.imitation.demos.episodes import Demonstration, Demonstrations
from robolearn_envs.vector import RoboVectorEnv


def with_mirrored(demos: Demonstrations) -> Demonstrations:
    """Return demonstrations, each followed by its mirror image.

    Of robolearn environments, whose mirror images are worlds as good as they are; others come back
    as they were. States of the simulation and seeds are not told of mirror images.

    Raises:
        RobolearnError: Their spaces are not those of their environment.
    """
    if demos.env is None or not demos.env.native:
        return demos
    envs = demos.env.make_vec(1)
    base = envs.unwrapped
    assert isinstance(base, RoboVectorEnv)
    try:
        for name in ("observation_space", "action_space"):
            recorded, expected = getattr(demos, name), getattr(base, f"single_{name}")
            if recorded != expected:
                raise RobolearnError(
                    f"{demos.name} is not of {demos.env.id}: {name} is {_words(recorded)}, "
                    f"expected {_words(expected)}."
                )
        pairs = [(one, _mirrored(one, base)) for one in demos.episodes]
    finally:
        envs.close()
    return Demonstrations(
        env=demos.env,
        observation_space=demos.observation_space,
        action_space=demos.action_space,
        episodes=[episode for pair in pairs for episode in pair],
        name=demos.name,
    )


def _words(space: gym.Space) -> str:
    return " ".join(str(space).split())[:200]


def _mirrored(one: Demonstration, base: RoboVectorEnv) -> Demonstration:
    observation, action = base.mirrored(one.observation, one.action)
    clean = None
    if one.clean_action is not None:
        _, clean = base.mirrored(one.observation, one.clean_action)
    return replace(
        one, observation=observation, action=action, clean_action=clean, state={}, seed=None
    )
