"""Training on Lightning: recipes, data, schedules and what is written down on the way."""
