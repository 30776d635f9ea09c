"""The Berkeley Function-Calling Leaderboard: its calls matched and its worlds played, without `eval`."""
