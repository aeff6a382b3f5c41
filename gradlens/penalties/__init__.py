"""Gradient penalties, one a file: functions of a differentiable probe that training adds to its loss."""
