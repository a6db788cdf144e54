"""What every robot stands on: floor, sky, light and camera, the same for every renderer.

Nothing here has mass or contact, so it cannot change the physics.
"""

SKY = (0.62, 0.76, 0.92)
"""Color overhead."""
HORIZON = (0.95, 0.97, 0.99)
"""Color of the sky's lower edge, and of the haze in which the floor ends."""
TILES = ((0.94, 0.96, 0.98), (0.86, 0.89, 0.93))
"""The two colors of the checkered floor."""
TILE = 1.0
"""Side of a floor tile in m; a corner lies at the origin."""
FLOOR = -0.35
"""Height of the floor in m; the cart's hinge is at 1 m, so a hanging pole clears it."""
AMBIENT, HEADLIGHT, SUN = 0.60, 0.20, 0.35
"""Light from everywhere, from the camera, and from the sun, in parts of full brightness."""
LIGHT_DIRECTION = (0.30, 0.45, -0.84)
"""Direction in which the sun shines, of length 1."""

CART = "0.13 0.37 0.75 1"
POLE = "0.96 0.57 0.13 1"
TIP = "0.86 0.20 0.18 1"
HUB = "0.96 0.97 0.98 1"
OBSTACLE = "0.46 0.53 0.66 1"
MOVER = "0.93 0.55 0.22 1"
WALL = "0.74 0.78 0.84 1"
GOAL = "0.13 0.69 0.40 1"
BEAM = "0.13 0.69 0.40 0.25"
RAIL = "0.36 0.41 0.48 1"
POST = "0.25 0.29 0.35 1"
"""Colors of the parts, as MJCF and URDF write them."""


def _words(numbers: tuple[float, ...]) -> str:
    return " ".join(map(repr, numbers))


def _gray(brightness: float) -> str:
    return _words((brightness,) * 3)


VISUAL = f"""\
  <statistic center="0 0 1" extent="4"/>
  <visual>
    <global fovy="35"/>
    <quality offsamples="4" numslices="64"/>
    <map znear="0.1" zfar="25"/>
    <headlight ambient="{_gray(AMBIENT)}" diffuse="{_gray(HEADLIGHT)}" specular="0 0 0"/>
    <rgba haze="{_words(HORIZON)} 1"/>
  </visual>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1="{_words(SKY)}" rgb2="{_words(HORIZON)}" width="64" height="384"/>
    <texture name="tiles" type="2d" builtin="checker" rgb1="{_words(TILES[0])}" rgb2="{_words(TILES[1])}" width="512" height="512"/>
    <material name="tiles" texture="tiles" texuniform="true" texrepeat="{1 / TILE} {1 / TILE}" specular="0"/>
  </asset>
"""  # noqa: E501
"""Picture settings and materials, for a model's top level."""

WORLD = f"""\
    <light pos="0 0 6" dir="{_words(LIGHT_DIRECTION)}" directional="true" castshadow="false" ambient="0 0 0" diffuse="{_gray(SUN)}" specular="0.1 0.1 0.1"/>
    <camera name="side" pos="0 -7.6 1.6" xyaxes="1 0 0 0 0.083 1" fovy="35"/>
    <geom name="floor" type="plane" pos="0 0 {FLOOR}" size="0 0 0.1" material="tiles"/>
"""  # noqa: E501
"""Light, camera and floor, for a model's world body."""

ARENA_WORLD = f"""\
    <light pos="0 0 6" dir="{_words(LIGHT_DIRECTION)}" directional="true" castshadow="false" ambient="0 0 0" diffuse="{_gray(SUN)}" specular="0.1 0.1 0.1"/>
    <geom name="floor" type="plane" size="0 0 0.1" material="tiles"/>
"""  # noqa: E501
"""Light and floor of a navigation arena, whose floor is at height 0."""
