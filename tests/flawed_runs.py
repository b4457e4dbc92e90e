"""Trainings that do not resume as they ought to, in a module that a new process can import."""

import time
import uuid

STEPS = 60


def steps(folder):
    """Count to STEPS, and go on from where the last process was."""
    file = folder / "step.txt"
    folder.mkdir(exist_ok=True)
    first = int(file.read_text()) if file.exists() else 0
    for step in range(first, STEPS):
        part = folder / f".step.txt.{uuid.uuid4().hex}.part"
        part.write_text(str(step + 1))
        part.replace(file)
        time.sleep(0.002)
    return first


def sound(folder):
    steps(folder)
    return {"step": STEPS}


def forgetful(folder):
    """The outcome depends on where the last process began."""
    return {"step": STEPS, "since": float(steps(folder))}


def littering(folder):
    """Each process leaves a file."""
    folder.mkdir(exist_ok=True)
    if (folder / "step.txt").exists():
        (folder / "scratch.txt").touch()
    return sound(folder)


def failing(folder):
    """A process that finds a checkpoint fails."""
    if steps(folder):
        raise ValueError("the checkpoint is damaged")
    return {"step": STEPS}
