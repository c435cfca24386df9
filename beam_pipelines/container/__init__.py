"""What runs in containers: their recipe, and a flex template."""
