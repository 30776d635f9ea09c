"""Text games with an expert, played in worker processes: `registry`, `panel`, `pool`, `play`, and `interface`."""
