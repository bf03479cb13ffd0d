"""What a run earned and risked: figures, intervals, trials and tests of the VaR."""
