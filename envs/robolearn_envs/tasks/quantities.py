"""What the numbers of observations and commands are."""

from robolearn_envs import sensors
from robolearn_envs.robots import DiscRobot, Rover
from robolearn_envs.tasks.base import Quantity

FORCE = 10.0
"""Largest force of the motor on the cart in N."""
AWAY = 10.0
"""What 1 stands for in the observed distance to the goal, in m."""

_X = Quantity("x", "m", "of the cart along the rail, from its middle, positive to the right")
_X_DOT = Quantity("x_dot", "m/s", "of the cart")
_THETA = Quantity("theta", "rad", "of the pole; 0 is upright, positive tips towards +x")
_THETA_DOT = Quantity("theta_dot", "rad/s", "of the pole")
_COS = Quantity("cos(theta)", "", "1 is upright, -1 hanging")
_SIN = Quantity("sin(theta)", "", "positive where the pole tips towards +x")

BALANCE = (_X, _X_DOT, _THETA, _THETA_DOT)
SWING = (_X, _COS, _SIN, _X_DOT, _THETA_DOT)
PUSH = (Quantity("force", "N", "of the motor on the cart, along +x", scale=FORCE),)

RANGES = Quantity(
    "lidar",
    "m",
    f"ray k points k * {360 / sensors.RAYS:g} degrees anticlockwise from the heading; the largest "
    "where nothing is in reach",
    scale=sensors.REACH,
    entries=sensors.RAYS,
)
DEPTH = Quantity(
    "depth",
    "m",
    "along the camera's axis; rows from the top, columns from the left; the largest where nothing "
    "is in reach",
    scale=sensors.REACH,
    entries=sensors.PIXELS**2,
)
GOAL = (
    Quantity("goal distance", "m", "from the robot's middle, in a straight line", scale=AWAY),
    Quantity("cos(goal bearing)", "", "1 where the goal is straight ahead"),
    Quantity("sin(goal bearing)", "", "positive where the goal is to the left"),
    Quantity("v", "m/s", "forward speed"),
    Quantity("omega", "rad/s", "turning rate, positive anticlockwise"),
)
TWIST = (
    Quantity("v", "m/s", "forward speed: field `max_speed`", scale=DiscRobot.max_speed),
    Quantity(
        "omega",
        "rad/s",
        "turning rate, positive anticlockwise: field `max_turn`",
        scale=DiscRobot.max_turn,
    ),
)
WHEELS = tuple(
    Quantity(
        f"{side} wheel",
        "rad/s",
        "speed, positive rolls forward: field `max_wheel_speed`",
        scale=Rover.max_wheel_speed,
    )
    for side in Rover.actuated
)
