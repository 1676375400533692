"""How soon nodes on EC2 fit, and what that costs in calls: `make bench WORKLOADS=cloud`."""
