"""The Warp engine, and a video of what was learned on the device."""

import tempfile
from pathlib import Path

from benchmarks.gpu_parts.common import Rows, Setting, found, rate
from benchmarks.gpu_parts.speed import actions_for
from robolearn.collect.cuda_graph import NUM_WARMUP, CudaGraph
from robolearn.environments import EnvConfig


def warp(setting: Setting) -> Rows:
    """Step rovers with lidar on MuJoCo Warp."""
    count = setting.size(4_096, 8)
    env = EnvConfig(id="robolearn/NavRover-v0", engine="warp", kwargs={"level": 2})
    envs = env.make_on_device(count, setting.device)
    envs.reset(seed=0)
    action = actions_for(envs)
    run = CudaGraph(lambda: envs.step_fn(action), capture=setting.cuda)
    for _ in range(NUM_WARMUP + 1):
        run()
    speed = count / setting.seconds(run, repeats=setting.size(10, 2))
    yield found(f"NavRover-v0 on Warp, {count:,} envs", rate(speed), ">= 300k", steps=speed)


def video(setting: Setting) -> Rows:
    """Train a little on the device and film an episode."""
    from robolearn.agents.ppo import PPO
    from robolearn.video.recording import record_episode
    from robolearn.video.render import render_video

    env = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="torch")
    agent = PPO(env, device=str(setting.device)).learn(setting.size(300_000, 4_096))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "film.mp4"
        render_video([record_episode(agent, env.on_host(), title="PPO")], target)
        yield found("video of an agent trained on the device", f"{target.stat().st_size:,} bytes")
