"""What processes of their own do with places, for tests of whole files and of places in use."""

import os
import time
from pathlib import Path

from config.files.in_use import in_use
from config.files.whole import whole_file, whole_folder, write_whole

FILES = 6


def write_folder(place: str, text: str) -> None:
    """Write a folder whose files all say the same."""
    with whole_folder(Path(place)) as folder:
        for k in range(FILES):
            (folder / f"{k}.txt").write_text(text * 50)


def write_file(place: str, text: str) -> None:
    """Write a file that says the same everywhere."""
    with whole_file(Path(place)) as file:
        for _ in range(FILES):
            file.write(text.encode() * 50)


def begin_folder(place: str, begun: str) -> None:
    """Begin a folder, say so, and wait to be killed."""
    with whole_folder(Path(place)) as folder:
        (folder / "a").write_text("a")
        Path(begun).touch()
        time.sleep(60)


def read_folder(place: str, times: str) -> None:
    """Read a folder's newest name again and again; it is there every time."""
    for _ in range(int(times)):
        (Path(place) / "0.txt").read_text()


def rewrite_folder(place: str, text: str, times: str) -> None:
    """Write a folder again and again."""
    for _ in range(int(times)):
        write_folder(place, text)


def take_turns(place: str, times: str) -> None:
    """Hold a place again and again; nobody else is ever in the room."""
    room = Path(place).with_name("room")
    for _ in range(int(times)):
        with in_use(Path(place), wait=True):
            os.close(os.open(room, os.O_CREAT | os.O_EXCL))
            room.unlink()


def wait_for_holder(place: str) -> None:
    """Wait until a place is held, then for its holder to go."""
    while not Path(place).with_name("held").exists():
        time.sleep(0.01)
    with in_use(Path(place), wait=True):
        pass


def hold(place: str, seconds: str) -> None:
    """Hold a place for a while; it says when it begins."""
    with in_use(Path(place)):
        write_whole(Path(place).with_name("held"), str(os.getpid()).encode())
        time.sleep(float(seconds))
