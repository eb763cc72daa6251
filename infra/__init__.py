"""The Pulumi program: what is created on Alibaba Cloud, and nothing else."""
