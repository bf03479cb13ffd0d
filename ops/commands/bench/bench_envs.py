"""The command `bench envs` measures the speed of engine and twin as environments."""

from ops.commands import options


def bench_envs(seed: options.Seed = None, as_json: options.Json = False) -> None:
    """Measure steps/s of the engine and of the training twin, holding and with orders."""
    from ops.bench.environments import measure_environments, print_rates

    print_rates(*measure_environments(seed or 0), as_json)
