"""The gateway to a Dask cluster."""

from __future__ import annotations

from skygrid.nodes.dask.cluster import DaskCluster
from skygrid.nodes.gateway.server import serve

if __name__ == "__main__":
    serve(DaskCluster)
