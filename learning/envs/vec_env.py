"""
Batched environments as stable-baselines3 takes them.

`TwinVecEnv` hands an environment's arrays to stable-baselines3, and makes the dicts that it wants
for ended episodes alone. `BatchVecEnv` is what any batch answers to it. Neither changes a number.
"""

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
    An environment's B episodes as one stable-baselines3 environment.

    `last` holds the arrays of the last step's information. Ended rows have started again: their
    last observation is in their info dict, as stable-baselines3 wants it.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.last: Info = {}
        super().__init__(
            environment.batch,
            spaces.Box(-BOUND, BOUND, (environment.observation_size,), np.float32),
            spaces.Box(-1.0, 1.0, (environment.action_size,), np.float32),
        )

    def reset(self) -> Float32Array:
        """Start all episodes anew; a seed given before restarts their generator."""
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
