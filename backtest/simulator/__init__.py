"""A market with a known answer: planted structure, a Bayes filter and two oracles."""

from backtest.simulator.simulated_market import SimulatedMarket, load_simulated, simulate

__all__ = ["SimulatedMarket", "load_simulated", "simulate"]
