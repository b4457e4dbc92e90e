"""The quick environment of the experiment `reinforcement`, as a vectorised environment of SB3."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from ..data import digits

BUTTONS = 10
LONGEST = 8


class Porter(VecEnv):
    """Many porters at once: each sees a handwritten digit and has to press the button of that name.

    The right button earns 1 and brings the next digit; a wrong one ends the episode, and so does
    the eighth right one. The return of an episode is therefore 0 to 8. `change` plugs the
    camera's wires in another order, so that a policy has to be learned anew. To a network whose
    initial weights know no order of pixels, all orders are equally hard.

    Parameters
    ----------
    copies : int
        How many environments.
    """

    def __init__(self, copies: int) -> None:
        self._pictures, self._names = _digits()
        pixels = self._pictures.shape[1]
        self.order = np.arange(pixels)
        self._infos: list[dict[str, Any]] = [{} for _ in range(copies)]
        self.render_mode = None
        super().__init__(
            copies,
            gymnasium.spaces.Box(-np.inf, np.inf, (pixels,), np.float32),
            gymnasium.spaces.Discrete(BUTTONS),
        )

    def change(self, generator: np.random.Generator) -> None:
        """Plug the camera's wires in another order."""
        self.order = generator.permutation(len(self.order))

    def reset(self) -> np.ndarray:
        """Begin all episodes anew; a seed given before counts from here on."""
        if self._seeds[0] is not None:
            self._generator = np.random.default_rng(self._seeds[0])
            self._reset_seeds()
        self._right = np.zeros(self.num_envs, dtype=int)
        return self._look()

    def step_async(self, actions: np.ndarray) -> None:
        """Take note of the buttons."""
        self._pressed = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Press them: returns what is seen next, rewards, ends, and nothing more."""
        right = self._names[self._shown] == self._pressed
        self._right += right
        done = ~right | (self._right == LONGEST)
        self._right[done] = 0
        return self._look(), right.astype(np.float32), done, self._infos

    def _look(self) -> np.ndarray:
        self._shown = self._generator.integers(len(self._names), size=self.num_envs)
        return self._pictures[self._shown][:, self.order]

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, once a copy."""
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all copies."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Call a method once, for all copies."""
        return [getattr(self, method_name)(*args, **kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Return False for every copy."""
        return [False] * self.num_envs


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    split = digits()
    return split.x_train.numpy(), split.y_train.numpy()
