"""Demonstrations for tests: real experts in real environments."""

from robolearn.environments import EnvConfig
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.human import Tape, simulation
from robolearn.imitation.experts import EXPERTS


def recorded(name, seeds=(0, 1, 2), engine=None, **kwargs):
    """Return whole episodes of the expert of a robolearn environment."""
    config = EnvConfig(id=f"robolearn/{name}", engine=engine, kwargs=kwargs)
    env = config.make()
    episodes = []
    for seed in seeds:
        tape, expert = Tape(env, seed), EXPERTS[name](simulation(env))
        state = None
        while not tape.over:
            action, state = expert.predict(None, state)
            tape.step(action[0])
        episodes.append(tape.demonstration())
    env.close()
    return Demonstrations(
        env=config,
        observation_space=env.observation_space,
        action_space=env.action_space,
        episodes=episodes,
    )
