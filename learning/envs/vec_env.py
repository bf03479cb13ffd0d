"""
Forms as the libraries know environments: a batch for stable-baselines3, one for Gymnasium.

`TwinVecEnv` hands a form's arrays to stable-baselines3; what it wants a dict an environment for
(ended episodes) is made for the ended rows alone. `TwinEnv` is a form of one episode. Neither
changes a number. `BatchVecEnv` is what any batch answers to stable-baselines3.
"""

from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.arrays import Float32Array
from learning.envs.environments import Environment, Info

BOUND = 100.0  # of an observation: features are cut at 5, weights are tens of units at most


def environment_spaces(environment: Environment) -> tuple[spaces.Box[Any], spaces.Box[Any]]:
    """Return the spaces of observations and of actions."""
    return (
        spaces.Box(-BOUND, BOUND, (environment.observation_size,), np.float32),
        spaces.Box(-1.0, 1.0, (environment.action_size,), np.float32),
    )


class BatchVecEnv(VecEnv):
    """
    Episodes that are stepped as one batch, as stable-baselines3 wants them; none stands alone.

    `seconds` is the wall time spent in steps.
    """

    def __init__(self, batch: int, seen: spaces.Space[Any], asked: spaces.Box[Any]) -> None:
        self.seconds = 0.0
        self.render_mode = None
        self._actions = np.zeros((batch, *asked.shape), dtype=np.float32)
        super().__init__(batch, seen, asked)

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Keep the actions until `step_wait`."""
        self._actions = actions

    def close(self) -> None:
        """Do nothing: a batch holds no process and no file."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the batch's attribute, once an index."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: episodes of a batch have no attributes of their own."""
        raise AttributeError(f"expected no attribute to be set, was {attr_name!r}")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Refuse: episodes of a batch have no methods of their own."""
        raise AttributeError(f"expected no call of one episode, was {method_name!r}")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        """Return False for each: a batch wraps nothing."""
        return [False for _ in self._get_indices(indices)]


class TwinVecEnv(BatchVecEnv):
    """
    A form's B episodes as one stable-baselines3 environment.

    `last` holds the arrays of the last step's information. Ended rows have started again: their
    last observation is in their info dict, as stable-baselines3 wants it.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.last: Info = {}
        super().__init__(environment.batch, *environment_spaces(environment))

    def reset(self) -> Float32Array:
        """Start all episodes anew; a seed given before restarts the form's generator."""
        if self._seeds[0] is not None:
            self.environment.rng = np.random.default_rng(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return self.environment.reset()

    def step_wait(
        self,
    ) -> tuple[Float32Array, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Live one session in all episodes."""
        start = time.perf_counter()
        observation, reward, terminated, truncated, self.last = self.environment.step(
            self._actions
        )
        self.seconds += time.perf_counter() - start
        over = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(over).tolist():
            infos[i] = {
                "terminal_observation": self.last["terminal_observation"][i],
                "TimeLimit.truncated": bool(truncated[i]),
                "episode": {
                    "r": float(self.last["episode_return"][i]),
                    "l": int(self.last["episode_sessions"][i]),
                },
            }
        return observation, reward.astype(np.float32), over, infos


class TwinEnv(gymnasium.Env[Float32Array, NDArray[np.float32]]):
    """
    A form of one episode as a Gymnasium environment.

    Raises ValueError where the form holds more.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(self, environment: Environment) -> None:
        if environment.batch != 1:
            raise ValueError(f"expected a form of one episode, was {environment.batch}")
        self.environment = environment
        seen, asked = environment_spaces(environment)
        self.observation_space: spaces.Space[Float32Array] = seen
        self.action_space: spaces.Space[NDArray[np.float32]] = asked

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Start an episode; `seed` restarts the generator that draws them."""
        super().reset(seed=seed)
        self.environment.rng = self.np_random
        return self.environment.reset()[0], {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """Live one session; an ended episode answers with its own last observation."""
        observation, reward, terminated, truncated, info = self.environment.step(action[None])
        last = bool(terminated[0] or truncated[0])
        seen = info.pop("terminal_observation")[0] if last else observation[0]
        return (
            seen,
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {name: values[0] for name, values in info.items()},
        )
