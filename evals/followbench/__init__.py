"""FollowBench: instructions that gain a constraint with each of five levels, checked by rules and by a judge."""
