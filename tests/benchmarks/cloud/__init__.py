"""Time until nodes on EC2 fit, and the API calls it takes: `make bench WORKLOADS=cloud`."""
