"""The Helm chart and the program that keeps its schema and its page in step with its values."""
