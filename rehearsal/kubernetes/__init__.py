"""A Kubernetes cluster on this machine that behaves like ACS."""
