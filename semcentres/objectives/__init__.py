"""Objectives: functions of embeddings, centres and labels; modules only where state lives."""
