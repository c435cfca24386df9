"""From arrays to attribution maps: Explainer and Score."""
