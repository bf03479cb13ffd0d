"""The commands `data …` take market data in and export what was recorded."""
