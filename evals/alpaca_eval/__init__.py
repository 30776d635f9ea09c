"""AlpacaEval: a judge's preferences between a model's answers and a baseline's."""
