"""What runs Digits: containers, Kubernetes, Ray, and what watches it."""
