"""Someone at the keyboard, for tests: real pygame events at certain frames."""

import pygame


def key(name, down=True):
    kind = pygame.KEYDOWN if down else pygame.KEYUP
    return pygame.event.Event(kind, key=pygame.key.key_code(name))


class Person:
    """Someone at a real window, who presses keys at certain frames."""

    act = {}  # noqa: RUF012 - what else happens, by frame

    def __init__(self, window, script):
        self.window, self.script, self.frame, self.told = window, script, 0, []

    def show(self, frame, lines):
        self.window.show(frame, lines)
        self.told.append(lines)

    def presses(self):
        for name in self.script.get(self.frame, "").split():
            pygame.event.post(key(name.lstrip("-"), down=not name.startswith("-")))
        self.act.get(self.frame, lambda: None)()
        self.frame += 1
        return self.window.presses()

    @property
    def held(self):
        return self.window.held
