"""Sources of market data: packaged sets, folders of files, catalogs and the simulator."""

from backtest.sources.opening import open_source as open_source
