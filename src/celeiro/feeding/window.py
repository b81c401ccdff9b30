"""Which part of a picture goes where: crops, resizes and flips as whole numbers.

A window is what a chain of moves comes to before a pixel is touched. So `Resize(256)` and
`CenterCrop(224)` together are one window, of which only 224 rows are ever computed.

    source ⊃ box ──mirror, resize──▸ grid ⊃ shown part ──flip──▸ result
                                     (where it leaves the grid, it is filled)

All coordinates are pixels, all pairs are (row, column) or (height, width).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Fill", "Window"]

Fill = int | float | tuple[int | float, ...]
"""The value of pixels outside a picture: one for all channels, or one a channel."""


class Window(NamedTuple):  # rather than a frozen dataclass: four are made a sample, 2 us each
    """What is shown of a picture, and at which size.

    Examples
    --------
    >>> window = Window.whole(100, 200).crop(0, 50, 100, 100).resize(50, 50).hflip()
    >>> window.box, window.grid, window.shown, window.flip
    ((0, 50, 100, 100), (50, 50), (50, 50), True)
    """

    source: tuple[int, int]
    """Size of the picture."""

    box: tuple[int, int, int, int]
    """The part of the picture that is used, always inside it: top, left, height, width."""

    grid: tuple[int, int]
    """The size that the box is resized to."""

    origin: tuple[int, int]
    """Where in the grid the shown part begins; negative where it is padded."""

    shown: tuple[int, int]
    """Size of the shown part, and so of the result."""

    mirror: bool = False
    """Whether the box is mirrored, left to right, before it is resized: what is resized alone."""

    flip: bool = False
    """Whether the shown part is mirrored at the end."""

    fill: Fill = 0
    """The value where the shown part leaves the grid."""

    before: Window | None = None
    """The window whose result is this one's source: two resizes are two passes."""

    cubic: bool = False
    """Whether the box is resized by the cubic filter rather than by the triangle."""

    @classmethod
    def whole(cls, height: int, width: int, before: Window | None = None) -> Window:
        """All of a picture, as it is."""
        size = (height, width)
        return cls(size, (0, 0, height, width), size, (0, 0), size, False, False, 0, before)

    @property
    def first(self) -> Window:
        """The window on the picture itself."""
        window = self
        while window.before is not None:
            window = window.before
        return window

    @property
    def resized(self) -> bool:
        """Whether the box and its grid differ in size."""
        return self.grid != self.box[2:]

    @property
    def padded(self) -> bool:
        """Whether the shown part leaves the grid."""
        (y, x), (height, width) = self.origin, self.shown
        return y < 0 or x < 0 or y + height > self.grid[0] or x + width > self.grid[1]

    def crop(self, top: int, left: int, height: int, width: int, fill: Fill = 0) -> Window:
        """Show a part of what is shown; what lies beyond is filled."""
        if top < 0 or left < 0 or top + height > self.shown[0] or left + width > self.shown[1]:
            return self._snug()._cut(top, left, height, width, fill)
        return self._cut(top, left, height, width, self.fill)

    def resize(self, height: int, width: int, *, cubic: bool = False) -> Window:
        """Bring what is shown to another size, by the triangle or the cubic filter."""
        if (height, width) == self.shown:
            return self
        if self.resized or self.padded:
            return Window.whole(*self.shown, before=self).resize(height, width, cubic=cubic)
        size = (height, width)
        box = self._shown_box()
        return Window(self.source, box, size, (0, 0), size, self.flip, False, 0, self.before, cubic)

    def hflip(self) -> Window:
        """Mirror what is shown, left to right."""
        return Window(
            self.source,
            self.box,
            self.grid,
            self.origin,
            self.shown,
            self.mirror,
            not self.flip,
            self.fill,
            self.before,
            self.cubic,
        )

    def move_boxes(self, boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Move boxes (n, 4) of x1, y1, x2, y2 from the picture to the result, and clip them there.

        Coordinates are those of pixel edges: the whole picture is (0, 0, width, height). A box
        that lies outside becomes one of no area on the border, so that fields beside the boxes
        keep their rows; NaN stays NaN.

        Examples
        --------
        >>> Window.whole(100, 200).resize(50, 50).hflip().move_boxes([[0, 0, 40, 100]])
        array([[40.,  0., 50., 50.]])
        """
        if self.before is not None:
            boxes = self.before.move_boxes(boxes)
        top, left, height, width = self.box
        moved: npt.NDArray[np.float64] = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        x, y = moved[:, 0::2], moved[:, 1::2]
        x -= left
        y -= top
        if self.mirror:
            x[:] = width - x[:, ::-1]
        x *= self.grid[1] / width
        y *= self.grid[0] / height
        x -= self.origin[1]
        y -= self.origin[0]
        if self.flip:
            x[:] = self.shown[1] - x[:, ::-1]
        np.clip(x, 0, self.shown[1], out=x)
        np.clip(y, 0, self.shown[0], out=y)
        return moved

    def _cut(self, top: int, left: int, height: int, width: int, fill: Fill) -> Window:
        if self.flip:
            left = self.shown[1] - left - width
        return Window(
            self.source,
            self.box,
            self.grid,
            (self.origin[0] + top, self.origin[1] + left),
            (height, width),
            self.mirror,
            self.flip,
            fill,
            self.before,
            self.cubic,
        )

    def _snug(self) -> Window:
        """The same, with all of its grid shown: beyond it there is nothing to see."""
        if self.shown == self.grid and self.origin == (0, 0):
            return self
        if self.resized or self.padded:
            return Window.whole(*self.shown, before=self)
        size = self.shown
        box = self._shown_box()
        return Window(self.source, box, size, (0, 0), size, False, self.flip, 0, self.before)

    def _shown_box(self) -> tuple[int, int, int, int]:
        """The part of the picture that is shown, of a window that neither resizes nor pads."""
        return self.box[0] + self.origin[0], self.box[1] + self.origin[1], *self.shown
