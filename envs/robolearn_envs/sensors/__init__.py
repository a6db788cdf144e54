"""Sensors: what a robot reads of the world and of itself, batched, on every engine."""

from robolearn_envs.sensors.base import Sensor
from robolearn_envs.sensors.depth_camera import DepthCamera
from robolearn_envs.sensors.imu import IMU
from robolearn_envs.sensors.lidar import Lidar
from robolearn_envs.sensors.odometry import Odometry

__all__ = ["IMU", "DepthCamera", "Lidar", "Odometry", "Sensor"]
