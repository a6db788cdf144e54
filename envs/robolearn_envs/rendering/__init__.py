from typing import Any
Renderer = Any
Window = Any
def make_renderer(*a): raise NotImplementedError
