"""The Learn page: low rank in short steps, each with a picture to touch.

page     the frame: the list of steps, and one step at a time
step     what a step is
parts    the pieces that steps are made of
steps    the steps themselves, one module each, in their order
static   the frame's script, and a small module for each picture
"""

from pages.learn.page import build

__all__ = ["build"]
