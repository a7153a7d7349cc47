"""What scripts/plan_scale.py is made of: measured constants, the model, real runs to check it."""
