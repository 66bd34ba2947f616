"""A generated street as a moving camera sees it: sky, facades, road marks, light and noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.types import I32, U8

_NEAREST_M = 1.5
_FARTHEST_M = 60.0
_ROAD_HALF_WIDTH_M = 4.0
_WALL_M = 7.5  # distance of the facades from the camera's axis
_CAMERA_HEIGHT_M = 1.5


@dataclass(frozen=True, slots=True)
class Light:
    """Time of day and camera: colours, brightness and sensor noise."""

    gain_bgr: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise_sigma: float = 2.0


class Street:
    """Renders frames of one drive.

    Args:
        size_wh_px: frame size.
        yaw: -1 looks left, 0 ahead, 1 right: where the vanishing point lies.
        speed_m_s: how fast the camera moves.
        light: colours and noise.
        seed: facades and noise follow from it.
    """

    def __init__(
        self, size_wh_px: tuple[int, int], yaw: float, speed_m_s: float, light: Light, seed: int
    ) -> None:
        self._width, self._height = size_wh_px
        self._focal_px = 0.8 * self._width
        self._vanishing = (self._width * (0.5 - 0.3 * yaw), self._height * 0.45)
        self._speed_m_s = speed_m_s
        self._light = light
        self._rng = np.random.default_rng(seed)
        grey = self._rng.integers(85, 190, (2, 12, 1))
        self._facades = grey + self._rng.integers(-22, 23, (2, 12, 3))
        self._windows = self._rng.integers(40, 200, (2, 12, 4))
        self._noise = self._rng.normal(
            0, light.noise_sigma, (2 * self._height, 2 * self._width, 1)
        ).astype(np.float32)
        self._sky = self._paint_sky()

    def frame(self, time_s: float) -> U8:
        """Return the empty street [h, w, 3] at a time; people are drawn into it afterwards."""
        image = self._sky.copy()
        travelled = time_s * self._speed_m_s
        self._paint_facades(image, travelled)
        self._paint_road(image, travelled)
        return image

    def expose(self, image: U8) -> U8:
        """Return the picture as the sensor would deliver it: light and noise."""
        x, y = self._rng.integers((self._width, self._height))  # another window, another noise
        noise = self._noise[y : y + self._height, x : x + self._width]
        lit = image * np.array(self._light.gain_bgr, np.float32) + noise
        exposed: U8 = np.clip(lit, 0, 255).astype(np.uint8)
        return exposed

    def _paint_sky(self) -> U8:
        top, horizon = np.array([205.0, 170, 130]), np.array([235.0, 225, 215])
        share = np.linspace(0, 1, self._height)[:, None, None]
        gradient = (1 - share) * top + share * horizon
        return np.broadcast_to(gradient, (self._height, self._width, 3)).astype(np.uint8)

    def _project(self, points_m: npt.ArrayLike) -> I32:
        """Pinhole projection of points (right, up, forward) in metres to whole pixels."""
        right, up, forward = np.asarray(points_m, np.float64).T
        scale = self._focal_px / np.maximum(forward, _NEAREST_M)
        x = self._vanishing[0] + right * scale
        y = self._vanishing[1] - (up - _CAMERA_HEIGHT_M) * scale
        limit = 20 * self._width
        pixels: I32 = np.clip(np.column_stack([x, y]), -limit, limit).round().astype(np.int32)
        return pixels

    def _paint_facades(self, image: U8, travelled_m: float) -> None:
        depth_m = 10.0
        first = int(travelled_m // depth_m)
        for house in reversed(range(first, first + 7)):  # far ones first
            near = max(house * depth_m - travelled_m, _NEAREST_M)
            far = (house + 1) * depth_m - travelled_m
            for side, x in enumerate((-_WALL_M, _WALL_M)):
                colour = tuple(int(c) for c in self._facades[side, house % 12])
                roof = 7.0 + 5.0 * (colour[0] % 7) / 7
                wall = [(x, 0, near), (x, roof, near), (x, roof, far), (x, 0, far)]
                cv2.fillConvexPoly(image, self._project(wall), colour, cv2.LINE_AA)
                self._paint_windows(image, side, house, x, travelled_m)

    def _paint_windows(
        self, image: U8, side: int, house: int, x: float, travelled_m: float
    ) -> None:
        for column in range(4):
            near = house * 10.0 + 1.0 + 2.3 * column - travelled_m
            if near < _NEAREST_M:
                continue
            glass = int(self._windows[side, house % 12, column])
            for floor in (1.0, 4.0):
                up, far = floor + 1.6, near + 1.3
                quad = [(x, floor, near), (x, up, near), (x, up, far), (x, floor, far)]
                cv2.fillConvexPoly(image, self._project(quad), (glass, glass, glass - 20))

    def _paint_road(self, image: U8, travelled_m: float) -> None:
        self._quad(image, _WALL_M, -_WALL_M, _NEAREST_M, _FARTHEST_M, (150, 152, 155))
        half = _ROAD_HALF_WIDTH_M
        self._quad(image, half, -half, _NEAREST_M, _FARTHEST_M, (88, 86, 84))
        for dash in range(16):
            near = dash * 4.0 - travelled_m % 4.0
            if near + 2 > _NEAREST_M:
                self._quad(image, 0.1, -0.1, max(near, _NEAREST_M), near + 2, (225, 228, 230))

    def _quad(
        self,
        image: U8,
        right_m: float,
        left_m: float,
        near_m: float,
        far_m: float,
        colour_bgr: tuple[int, int, int],
    ) -> None:
        ground = [
            (left_m, 0, near_m),
            (right_m, 0, near_m),
            (right_m, 0, far_m),
            (left_m, 0, far_m),
        ]
        cv2.fillConvexPoly(image, self._project(ground), colour_bgr, cv2.LINE_AA)
