"""What the cloud does in an ACS cluster: load balancers, disks, network policies, stock."""
