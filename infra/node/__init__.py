"""What runs on the ECS node (``vace_node``), and how it gets there (``render``)."""
